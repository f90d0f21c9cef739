"""Small things that many tests need."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from imageserver.generation import Generation
from imageserver.messages import Failed, Finished, Message, Run

if TYPE_CHECKING:
    from imageserver.engine.workshop import Workshop


def generation(prompt: str = "a red circle", **changes: Any) -> Generation:
    """Return a small generation."""
    fields: dict[str, Any] = {
        "negative_prompt": " ", "width": 64, "height": 64, "steps": 4, "true_cfg_scale": 3.0, "seed": 1
    }  # fmt: skip
    return Generation(prompt=prompt, **(fields | changes))


def draw_in(workshop: "Workshop", sent: list[tuple[Message, bytes]], wanted: Generation) -> bytes:
    """Draw one generation in an engine's workshop and return its pixels; a failure fails the test."""
    [facts] = workshop.held
    workshop.add(Run(job=1, generation=replace(wanted, model=facts.name)), b"")
    while workshop.turns.busy:
        workshop.turns.take_one()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for message, raw in sent:
            assert not isinstance(message, Failed), message
            if isinstance(message, Finished):
                return raw
        time.sleep(0.01)
    raise AssertionError("The picture was never sent.")
