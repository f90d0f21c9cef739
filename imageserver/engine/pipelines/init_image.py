"""The images that a generation starts from: passed to the pipeline at the generated size, kept outside the mask."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from imageserver.generation import Generation

CHANNELS = 3

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class RequestPixels:
    """The arrays of a source and of control images: images are (height, width, 3), the mask is (height, width)."""

    image: Bytes | None
    mask: Bytes | None
    further: tuple[Bytes, ...]
    controls: tuple[Bytes, ...]


def arguments(generation: Generation, source: bytes, width: int, height: int, strength: float) -> dict[str, Any]:
    """Return the pipeline call's arguments for the source, padded with its edges to the generated size.

    Further images keep their own sizes; beside a mask there is at most one, which the pipeline looks at. All are PIL
    images, as in a plain call: a tensor of the same values has another layout, and changes the last bits of the result.
    """
    if generation.source is None:
        return {}
    pixels = _read(generation, source)
    assert pixels.image is not None
    first = Image.fromarray(_padded(pixels.image, width, height))
    further = [Image.fromarray(image) for image in pixels.further]
    given: dict[str, Any] = {"image": first, "strength": strength}
    if pixels.mask is not None:
        given["mask_image"] = Image.fromarray(_padded(pixels.mask, width, height))
        if further:
            [given["image_reference"]] = further
    elif further:
        given["image"] = [first, *further]
    return given


def first_image(generation: Generation, source: bytes) -> torch.Tensor:
    """Return the image that a generation starts from, (height, width, 3)."""
    image = _read(generation, source).image
    assert image is not None
    return torch.from_numpy(image.copy())


def control_arguments(generation: Generation, source: bytes, width: int, height: int, name: str) -> dict[str, Any]:
    """Return the pipeline call's arguments for the control images, which the pipeline calls `name`.

    Of several images each is a list, which needs a ControlNet that takes several.
    """
    if not generation.controls:
        return {}
    given: dict[str, list[Any]] = {
        name: [Image.fromarray(_padded(guide, width, height)) for guide in _read(generation, source).controls],
        "controlnet_conditioning_scale": [control.scale for control in generation.controls],
        "control_guidance_start": [control.start for control in generation.controls],
        "control_guidance_end": [control.end for control in generation.controls],
    }
    return given if len(generation.controls) > 1 else {argument: each for argument, [each] in given.items()}


def keep_unmasked(pixels: torch.Tensor, generation: Generation, source: bytes) -> torch.Tensor:
    """Return generated pixels (height, width, 3), bit-identical to the source where the mask keeps it; grey blends."""
    if generation.source is None or not generation.source.masked:
        return pixels
    given = _read(generation, source)
    assert given.image is not None
    assert given.mask is not None
    image, mask = (torch.from_numpy(part.astype(np.int32)) for part in (given.image, given.mask))
    share = mask[..., None]
    mixed = pixels.to(torch.int32) * share + image * (255 - share)
    return ((mixed + 127) // 255).to(torch.uint8)


def _read(generation: Generation, source: bytes) -> RequestPixels:
    described = generation.source
    values, read = np.frombuffer(source, np.uint8), 0

    def next_array(*shape: int) -> Bytes:
        nonlocal read
        size = math.prod(shape)
        read += size
        return values[read - size : read].reshape(shape)

    height, width = generation.height, generation.width
    # In the order in which they are sent.
    return RequestPixels(
        image=next_array(height, width, CHANNELS) if described else None,
        mask=next_array(height, width) if described and described.masked else None,
        further=tuple(next_array(high, wide, CHANNELS) for wide, high in described.further) if described else (),
        controls=tuple(next_array(height, width, CHANNELS) for _ in generation.controls),
    )


def _padded(pixels: Bytes, width: int, height: int) -> Bytes:
    """Return the pixels padded with their edges to the generated size, the original in the centre."""
    down, across = height - pixels.shape[0], width - pixels.shape[1]
    margins = [(down // 2, down - down // 2), (across // 2, across - across // 2)]
    return np.pad(pixels, margins + [(0, 0)] * (pixels.ndim - 2), mode="edge")
