"""Small things that many tests need."""

from typing import Any

from imageserver.generation import Generation


def generation(prompt: str = "a red circle", **changes: Any) -> Generation:
    """Return a small generation."""
    fields: dict[str, Any] = {
        "negative_prompt": " ", "width": 64, "height": 64, "steps": 4, "true_cfg_scale": 3.0, "seed": 1
    }  # fmt: skip
    return Generation(prompt=prompt, **(fields | changes))
