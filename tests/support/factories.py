"""Small things that many tests need."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from imageserver.generation import Generation
from imageserver.protocol.messages import Failed, Finished, Message, Run

if TYPE_CHECKING:
    from imageserver.engine.models.model_pool import ModelPool


def generation(prompt: str = "a red circle", **changes: Any) -> Generation:
    """Return a small generation."""
    fields: dict[str, Any] = {
        "negative_prompt": " ", "width": 64, "height": 64, "steps": 4, "true_cfg_scale": 3.0, "seed": 1
    }  # fmt: skip
    return Generation(prompt=prompt, **(fields | changes))


def generate_in(pool: "ModelPool", sent: list[tuple[Message, bytes]], wanted: Generation) -> bytes:
    """Generate one generation in an engine's workshop and return its pixels; a failure fails the test."""
    [facts] = pool.loaded
    pool.add(Run(job=1, generation=replace(wanted, model=facts.name)), b"")
    while pool.step_scheduler.busy:
        pool.step_scheduler.step()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for message, raw in sent:
            assert not isinstance(message, Failed), message
            if isinstance(message, Finished):
                return raw
        time.sleep(0.01)
    raise AssertionError("The image was never sent.")
