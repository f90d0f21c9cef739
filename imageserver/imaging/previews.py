"""A picture in the making as a picture file: a few pixels from the latents, enlarged to the size of the answer."""

import numpy as np
from PIL import Image

from imageserver.generation import OutputFormat
from imageserver.imaging.encoding import encode


def picture_file(
    pixels: bytes,
    size: tuple[int, int],
    wanted: tuple[int, int],
    *,
    output_format: OutputFormat,
    compression: int | None = None,
) -> bytes:
    """Return the bytes of a picture of `wanted` (width, height) from RGB pixels of `size`, row by row."""
    small = Image.frombytes("RGB", size, pixels)
    large = small.resize(wanted, Image.Resampling.BICUBIC, box=visible_part(size, wanted))
    return encode(np.asarray(large), output_format=output_format, compression=compression)


def visible_part(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the box (left, top, right, bottom) of a preview that the answer shows.

    The engine draws at the next multiple its VAE needs and crops to the centre. A latent pixel stands for a square of
    the picture, so the side that was enlarged least tells how large the squares are.
    """
    (width, height), (wanted_width, wanted_height) = size, wanted
    square = max(-(-wanted_width // width), -(-wanted_height // height))
    across, down = wanted_width / square, wanted_height / square
    left, top = (width - across) / 2, (height - down) / 2
    return left, top, left + across, top + down
