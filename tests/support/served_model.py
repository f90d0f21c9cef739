"""What every model that is served must hold, whatever it generates from."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import requests

from tests.support.images import pixels
from tests.support.server import Server, in_background


def assert_a_lora_leaves_no_trace(
    server: Server, prompt: str, *, read: Callable[[requests.Response], np.ndarray[Any, Any]] = pixels, **fields: Any
) -> None:
    """Fail unless the LoRA "red" changes the image that `read` finds in an answer, and the next one is as before."""

    def generate(*loras: str) -> np.ndarray[Any, Any]:
        return read(server.generate(prompt, loras=[{"name": name} for name in loras], **fields))

    before = generate()
    assert (generate("red") != before).any()
    assert (generate() == before).all()


def assert_together_as_alone(
    generate: Callable[[Any], np.ndarray[Any, Any]], asked: Iterable[Any], difference: int = 1
) -> None:
    """Fail unless several clients at a time get what each gets alone, give or take a rounding edge."""
    asked = list(asked)
    alone = [generate(one) for one in asked]
    together = [in_background(generate, one) for one in asked]
    for expected, generated in zip(alone, together, strict=True):
        assert np.abs(generated.result(60) - expected).max() <= difference


def assert_leaving_cancels(server: Server, seconds: float = 0.3, **fields: Any) -> None:
    """Fail unless the job of a client that hangs up after some seconds is cancelled."""
    with pytest.raises(requests.Timeout):
        server.post({"prompt": "leaves", "num_inference_steps": 150} | fields, timeout=seconds)
    server.wait_until_idle()
    assert server.get("/v1/jobs?state=cancelled").json()["data"][0]["prompt"].startswith("leaves")
