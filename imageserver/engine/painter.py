"""Turn a generation into pixels with the loaded pipeline: one suspended pipeline call per picture."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from imageserver.engine.families import Family
from imageserver.engine.pipelines import Pipeline
from imageserver.generation import Generation

MAX_SEED = 2**64


class Painter:
    """Draws one picture at a time; every call has its own scheduler and its own shallow copy of the pipeline.

    One pipeline object shared by two calls is wrong: they would share the scheduler's state.
    """

    def __init__(self, pipeline: Pipeline, family: Family) -> None:
        self._pipeline = pipeline
        self._family = family

    def draw(self, generation: Generation, index: int, on_step: Callable[[], None]) -> np.ndarray[Any, Any]:
        """Return picture `index` as uint8 of shape (height, width, 3); `on_step` is called after every step."""
        pipeline = copy.copy(self._pipeline)
        pipeline.scheduler = copy.deepcopy(self._pipeline.scheduler)
        multiple = self._family.size_multiple(pipeline)
        width, height = _next_multiple(generation.width, multiple), _next_multiple(generation.height, multiple)

        def step_ended(_pipeline: Any, _step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            on_step()
            return tensors

        images = pipeline(
            **self._family.arguments(generation),
            width=width,
            height=height,
            # Drawn on the CPU, a seed means the same noise on every device.
            generator=torch.Generator("cpu").manual_seed((generation.seed + index) % MAX_SEED),
            output_type="np",
            callback_on_step_end=step_ended,
        ).images
        pixels = (images[0] * 255).round().astype(np.uint8)
        return crop_to_centre(pixels, generation.width, generation.height)

    def warnings(self, generation: Generation) -> list[str]:
        """Return what the client should know about this generation."""
        return self._family.warnings(self._pipeline, generation)


def crop_to_centre(pixels: np.ndarray[Any, Any], width: int, height: int) -> np.ndarray[Any, Any]:
    """Cut (height, width, 3) out of the middle of a picture that is at least as large."""
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def _next_multiple(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
