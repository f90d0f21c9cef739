"""The picture that a generation starts from: handed to the pipeline at the drawn size, and kept where it is masked."""

from typing import Any

import torch
from torch.nn.functional import pad

from imageserver.generation import Generation

CHANNELS = 3


def arguments(generation: Generation, source: bytes, width: int, height: int) -> dict[str, Any]:
    """Return what the pipeline's call is told of the source, whose pixels are continued to the drawn size.

    The picture has shape (1, 3, height, width), the mask (1, 1, height, width), both in [0, 1] as diffusers makes them
    of PIL images.
    """
    if generation.source is None:
        return {}
    picture, mask = _planes(generation, source)
    given = {"image": _continued(picture, width, height), "strength": generation.source.strength}
    if mask is not None:
        given["mask_image"] = _continued(mask, width, height)
    return given


def keep_unmasked(pixels: torch.Tensor, generation: Generation, source: bytes) -> torch.Tensor:
    """Return drawn pixels (height, width, 3) with the source's where the mask keeps them, to the bit; grey is mixed."""
    if generation.source is None or not generation.source.masked:
        return pixels
    picture, mask = _bytes(generation, source)
    assert mask is not None
    share = mask.to(torch.int32)[..., None]
    mixed = pixels.to(torch.int32) * share + picture.to(torch.int32) * (255 - share)
    return ((mixed + 127) // 255).to(torch.uint8)


def _bytes(generation: Generation, source: bytes) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the source as uint8 (height, width, 3) and the mask as uint8 (height, width)."""
    assert generation.source is not None
    height, width = generation.height, generation.width
    values = torch.frombuffer(bytearray(source), dtype=torch.uint8)
    size = height * width * CHANNELS
    picture = values[:size].view(height, width, CHANNELS)
    return picture, values[size:].view(height, width) if generation.source.masked else None


def _planes(generation: Generation, source: bytes) -> tuple[torch.Tensor, torch.Tensor | None]:
    picture, mask = _bytes(generation, source)
    planes = picture.permute(2, 0, 1)[None].float() / 255
    return planes, None if mask is None else mask[None, None].float() / 255


def _continued(planes: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Return the planes with their edges continued to the drawn size, the original in the centre."""
    across, down = width - planes.shape[3], height - planes.shape[2]
    if not (across or down):
        return planes
    return pad(planes, (across // 2, across - across // 2, down // 2, down - down // 2), mode="replicate")
