"""The picture that a generation starts from: handed to the pipeline at the drawn size, and kept where it is masked."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from imageserver.generation import Generation

CHANNELS = 3

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def arguments(generation: Generation, source: bytes, width: int, height: int, strength: float) -> dict[str, Any]:
    """Return what the pipeline's call is told of the source, whose edges are continued to the drawn size.

    Both are PIL images, as in a plain call: a tensor of the same values has another layout, and gives other last bits.
    """
    if generation.source is None:
        return {}
    picture, mask = _bytes(generation, source)
    given = {"image": Image.fromarray(_continued(picture, width, height)), "strength": strength}
    if mask is not None:
        given["mask_image"] = Image.fromarray(_continued(mask, width, height))
    return given


def keep_unmasked(pixels: torch.Tensor, generation: Generation, source: bytes) -> torch.Tensor:
    """Return drawn pixels (height, width, 3) with the source's where the mask keeps them, to the bit; grey is mixed."""
    if generation.source is None or not generation.source.masked:
        return pixels
    picture, mask = (torch.from_numpy(part.astype(np.int32)) for part in _bytes(generation, source) if part is not None)
    share = mask[..., None]
    mixed = pixels.to(torch.int32) * share + picture * (255 - share)
    return ((mixed + 127) // 255).to(torch.uint8)


def _bytes(generation: Generation, source: bytes) -> tuple[Bytes, Bytes | None]:
    """Return the source as (height, width, 3) and the mask as (height, width)."""
    assert generation.source is not None
    height, width = generation.height, generation.width
    values = np.frombuffer(source, np.uint8)
    size = height * width * CHANNELS
    picture = values[:size].reshape(height, width, CHANNELS)
    return picture, values[size:].reshape(height, width) if generation.source.masked else None


def _continued(pixels: Bytes, width: int, height: int) -> Bytes:
    """Return the pixels with their edges continued to the drawn size, the original in the centre."""
    down, across = height - pixels.shape[0], width - pixels.shape[1]
    margins = [(down // 2, down - down // 2), (across // 2, across - across // 2)]
    return np.pad(pixels, margins + [(0, 0)] * (pixels.ndim - 2), mode="edge")
