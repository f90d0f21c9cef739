"""The pixels of a finished image, from the floats that the pipeline computed to the bytes of the wanted size."""

import torch


def on_white(image: torch.Tensor) -> torch.Tensor:
    """Return an image (3 or 4, height, width) in [0, 1] without its transparency, where it has any."""
    if image.shape[0] == 3:
        return image
    colours, opacity = image[:3].float(), image[3:].float()
    return colours * opacity + 1 - opacity


def to_bytes(image: torch.Tensor) -> torch.Tensor:
    """Return (..., 3, height, width) in [0, 1] as uint8 (..., height, width, 3), rounded as diffusers does for PIL."""
    return (image.movedim(-3, -1).float() * 255).round_().to(torch.uint8)


def scaled(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Return an image (3, height, width) at the size that was asked for, where the pipeline has chosen another."""
    if image.shape[1:] == (height, width):
        return image
    return _resized(image, height, width)


def enlarged(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Return an image (3, height, width), enlarged in its own shape where it does not cover the size."""
    factor = max(height / image.shape[1], width / image.shape[2])
    if factor <= 1:
        return image
    return _resized(image, max(height, round(image.shape[1] * factor)), max(width, round(image.shape[2] * factor)))


def crop_to_centre(pixels: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Cut (height, width, 3) out of the middle of an image that is at least as large."""
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width].contiguous()


def _resized(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    resized = torch.nn.functional.interpolate(image[None].float(), size=[height, width], mode="bicubic")
    return resized[0].clamp(0, 1)
