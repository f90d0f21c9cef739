"""Preview an unfinished image with a linear map from its latents to colours, fitted for the loaded model.

A full decode costs as much as many steps; this costs one small matrix product. A VAE's latents are close enough to
linear in the colours beneath them for a thumbnail, so the map is fitted once by least squares: images of smooth
colours are encoded, and each latent pixel predicts the mean colour of its pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

# Colour fields of this size in latents; two of them are enough for 16 channels and leave the fit overdetermined.
FIELD = 16
FIELDS = 2
# Changes of colour per field, few enough for a latent pixel to cover one colour.
KNOTS = 5

Encode = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Thumbnail:
    """A small image: `height * width * 3` bytes of RGB, row by row; each stands for `scale * scale` pixels."""

    width: int
    height: int
    pixels: bytes
    scale: int


class PreviewMap:
    """The fitted map; `weights` has shape (channels + 1, 3), the last row being the offset."""

    def __init__(self, weights: torch.Tensor, scale: int) -> None:
        self._weights = weights
        self._scale = scale

    def preview(self, latents: torch.Tensor) -> Thumbnail:
        """Return the thumbnail of latents of shape (channels, height, width), one pixel per latent pixel."""
        colours = torch.addmm(self._weights[-1], latents.flatten(1).T.float(), self._weights[:-1])
        pixels = colours.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
        return Thumbnail(latents.shape[2], latents.shape[1], pixels.cpu().numpy().tobytes(), self._scale)


def fit(encode: Encode, scale: int) -> PreviewMap:
    """Fit the map; `encode` turns (1, 3, height, width) in [-1, 1] into latents, each `scale` pixels wide."""
    generator = torch.Generator("cpu").manual_seed(0)
    rows, wanted = [], []
    for _ in range(FIELDS):
        knots = torch.rand(1, 3, KNOTS, KNOTS, generator=generator) * 2 - 1
        colours = torch.nn.functional.interpolate(knots, size=(FIELD, FIELD), mode="bilinear", align_corners=True)
        image = torch.nn.functional.interpolate(colours, scale_factor=scale, mode="nearest")
        latents = encode(image)
        rows.append(latents.flatten(1).T.float().cpu())
        wanted.append(colours[0].flatten(1).T)
    seen = torch.cat(rows)
    seen = torch.cat([seen, torch.ones(len(seen), 1)], 1)
    # A little ridge: a tiny random VAE may leave channels that never change.
    square = seen.T @ seen + 1e-4 * len(seen) * torch.eye(seen.shape[1])
    weights = torch.linalg.solve(square, seen.T @ torch.cat(wanted))
    return PreviewMap(weights.to(latents.device), scale)
