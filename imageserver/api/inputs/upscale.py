"""The second stage that a body asks for: the size of the answer, and the tiles in which it is generated."""

import math
from dataclasses import replace

from imageserver.api.inputs.generate_request import GenerateBody
from imageserver.api.inputs.images.init_image import MAX_INPUT_RATIO
from imageserver.errors import InvalidParameter
from imageserver.generation import Generation, ModelInfo, Upscale
from imageserver.settings import Settings

DEFAULT_FACTOR, DEFAULT_STRENGTH = 2.0, 0.35
# What is generated without a size where the model says nothing else, and the largest tile of an image that was sent.
DEFAULT_PIXELS, MAX_SENT_PIXELS = 512 * 512, 1024 * 1024
TILE_MULTIPLE, MIN_TILE_SIDE = 16, 64


def with_second_stage(
    body: GenerateBody, generation: Generation, info: ModelInfo | None, settings: Settings, *, only: bool
) -> Generation:
    """Return the generation with the stage that `upscale` asks for; `only` enlarges the image that was sent.

    Raises InvalidParameter for what cannot be enlarged.
    """
    factor = body.upscale or (DEFAULT_FACTOR if only else None)
    if factor is None:
        return generation
    width, height = round(generation.width * factor), round(generation.height * factor)
    _check_size(width, height, generation.count, settings)
    strength = DEFAULT_STRENGTH if body.upscale_strength is None else body.upscale_strength
    _check(generation, info, strength)
    upscale = Upscale(
        width=width,
        height=height,
        strength=strength,
        steps=body.upscale_steps or generation.steps,
        tile=_tile(width, height, _tile_pixels(generation, info, settings, only=only)),
        only=only,
    )
    if only and not strength:
        # Lanczos reads no prompt.
        return replace(generation, upscale=upscale, enhancement=None)
    return replace(generation, upscale=upscale)


def _check_size(width: int, height: int, count: int, settings: Settings) -> None:
    limit = MAX_INPUT_RATIO * settings.max_pixels
    if width * height > limit:
        raise InvalidParameter(
            f"upscale: the image would be {width}x{height}; the limit is {limit} pixels, {MAX_INPUT_RATIO} times "
            "MAX_PIXELS.",
            param="upscale",
        )
    # All images of an answer are held at once, up to what they have without this stage.
    together = max(MAX_INPUT_RATIO, settings.max_images) * settings.max_pixels
    if count * width * height > together:
        raise InvalidParameter(
            f"upscale: {count} images would be {width}x{height} each; the limit is {together} pixels together.",
            param="upscale",
        )


def _check(generation: Generation, info: ModelInfo | None, strength: float) -> None:
    reason = ""
    if generation.layers or (info is not None and info.layers):
        reason = "layers are not enlarged; leave it out"
    elif generation.transparent:
        reason = "transparent images are not enlarged; leave it or background out"
    elif generation.quality != "exact":
        reason = "its stage computes every block: quality must be exact"
    elif strength and info is not None and "image" not in info.kinds:
        reason = f"{info.name} does not generate over an image; upscale_strength 0 only enlarges"
    if reason:
        raise InvalidParameter(f"upscale: {reason}.", param="upscale")


def _tile_pixels(generation: Generation, info: ModelInfo | None, settings: Settings, *, only: bool) -> int:
    """Return how large a tile may be: what the model generates by default, or what the first stage generates."""
    own = math.prod(info.default_size) if info and info.default_size else DEFAULT_PIXELS
    given = generation.width * generation.height
    return min(settings.max_pixels, max(own, min(given, MAX_SENT_PIXELS) if only else given))


def _tile(width: int, height: int, pixels: int) -> tuple[int, int]:
    """Return a tile of the image's shape with at most so many pixels; a small image is one tile."""
    if width * height <= pixels:
        return width, height
    scale = math.sqrt(pixels / (width * height))
    wide, high = (max(MIN_TILE_SIDE, int(side * scale) // TILE_MULTIPLE * TILE_MULTIPLE) for side in (width, height))
    return min(wide, width), min(high, height)
