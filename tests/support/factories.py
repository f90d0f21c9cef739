"""Small things that many tests need."""

from pathlib import Path
from typing import Any

from imageserver.generation import Generation
from imageserver.outputs.task_store import TaskStore


def generation(prompt: str = "a red circle", **changes: Any) -> Generation:
    """Return a small generation."""
    fields: dict[str, Any] = {
        "negative_prompt": " ", "width": 64, "height": 64, "steps": 4, "true_cfg_scale": 3.0, "seed": 1
    }  # fmt: skip
    return Generation(prompt=prompt, **(fields | changes))


def task_store(folder: Path, **changes: Any) -> TaskStore:
    """Return a store of tasks with small limits."""
    return TaskStore(folder, **({"ttl": 100, "max_ended": 1000, "max_mb": 64} | changes))
