"""Turn a generation into pixels with the loaded pipeline: one suspended pipeline call per picture."""

import copy
from collections.abc import Callable
from typing import Any

import torch

from imageserver.engine.embeddings import EmbeddingCache
from imageserver.engine.families import Family
from imageserver.engine.pipelines import Pipeline
from imageserver.engine.single_frame_vae import stock_arithmetic
from imageserver.generation import Generation

MAX_SEED = 2**64
# A prompt of Qwen-Image takes up to 7 MiB as embeddings.
CACHED_PROMPTS = 64


class Painter:
    """Draws one picture at a time; every call has its own scheduler and its own shallow copy of the pipeline.

    One pipeline object shared by two calls is wrong: they would share the scheduler's state.
    """

    def __init__(self, pipeline: Pipeline, family: Family, on_end: Callable[[], None] = lambda: None) -> None:
        """Call `on_end` after every pipeline call, however it ended."""
        self._pipeline = pin_execution_device(pipeline)
        self._family = family
        self._on_end = on_end
        self.embeddings = EmbeddingCache(CACHED_PROMPTS)

    def draw(self, generation: Generation, index: int, on_step: Callable[[], None]) -> torch.Tensor:
        """Return picture `index` as floats in [0, 1] of shape (3, height, width); the size is the pipeline's own.

        `on_step` is called after every step.
        """
        pipeline = copy.copy(self._pipeline)
        pipeline.scheduler = copy.deepcopy(self._pipeline.scheduler)
        if generation.deterministic:
            pipeline.vae = with_stock_decoder(pipeline.vae)
        multiple = self._family.size_multiple(pipeline)

        def step_ended(_pipeline: Any, _step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            on_step()
            return tensors

        try:
            images = pipeline(
                **self._family.arguments(pipeline, generation, self.embeddings),
                width=_next_multiple(generation.width, multiple),
                height=_next_multiple(generation.height, multiple),
                # Drawn on the CPU, a seed means the same noise on every device.
                generator=torch.Generator("cpu").manual_seed((generation.seed + index) % MAX_SEED),
                output_type="pt",
                callback_on_step_end=step_ended,
            ).images
        except BaseException:
            # A cancelled call would leave offloaded weights on the device.
            pipeline.maybe_free_model_hooks()
            raise
        finally:
            self._on_end()
        picture: torch.Tensor = images[0]
        return picture

    def develop(self, picture: torch.Tensor, generation: Generation) -> bytes:
        """Return a drawn picture as its `height * width * 3` bytes; safe on any thread."""
        return crop_to_centre(to_bytes(picture), generation.width, generation.height).cpu().numpy().tobytes()

    def calls_per_step(self, generation: Generation) -> int:
        """Return the denoiser calls of one step."""
        return self._family.calls_per_step(generation)

    def warnings(self, generation: Generation) -> list[str]:
        """Return what the client should know about this generation."""
        return self._family.warnings(self._pipeline, generation)


def pin_execution_device(pipeline: Pipeline) -> Pipeline:
    """Return a copy that knows its device; the stock property looks at every module, 8 ms a picture on a CPU."""
    device, stock = pipeline._execution_device, type(pipeline)
    pinned = copy.copy(pipeline)
    pinned.__class__ = type(stock.__name__, (stock,), {"_execution_device": property(lambda self: device)})
    return pinned


def with_stock_decoder(vae: Any) -> Any:
    """Return a view of the VAE that decodes to the bit as diffusers does; the fast path differs in the last place."""
    view = copy.copy(vae)

    def decode(*arguments: Any, **options: Any) -> Any:
        with stock_arithmetic():
            return vae.decode(*arguments, **options)

    view.decode = decode
    return view


def to_bytes(image: torch.Tensor) -> torch.Tensor:
    """Return (3, height, width) in [0, 1] as uint8 (height, width, 3), rounded as diffusers does for PIL."""
    return (image.permute(1, 2, 0).float() * 255).round().to(torch.uint8)


def crop_to_centre(pixels: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Cut (height, width, 3) out of the middle of a picture that is at least as large."""
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width].contiguous()


def _next_multiple(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
