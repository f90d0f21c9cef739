"""Previews: a few pixels from the latents, enlarged to the size of the image."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imageserver.generation import OutputFormat
from imageserver.imaging.encoding import encode


def image_file(
    pixels: bytes,
    size: tuple[int, int],
    scale: int,
    image_size: tuple[int, int],
    *,
    output_format: OutputFormat,
    compression: int | None = None,
    max_side: int | None = None,
) -> bytes:
    """Return an image file of `image_size` (width, height), no side over `max_side`, from RGB pixels of `size`.

    The pixels run row by row; each stands for `scale * scale` pixels of the generation.
    """
    large = enlarged(pixels, size, scale, image_size, max_side=max_side)
    return encode(large, output_format=output_format, compression=compression)


def enlarged(
    pixels: bytes, size: tuple[int, int], scale: int, image_size: tuple[int, int], *, max_side: int | None = None
) -> NDArray[np.uint8]:
    """Return the pixels (height, width, 3) that `image_file` encodes.

    Like the engine, which generates at the next multiple that its VAE needs, this crops to the centre.
    """
    small = Image.frombytes("RGB", size, pixels)
    across, down = (min(side, limit / scale) for side, limit in zip(size, image_size, strict=True))
    left, top = (size[0] - across) / 2, (size[1] - down) / 2
    share = 1.0 if max_side is None else min(1.0, max_side / max(image_size))
    width, height = (max(1, round(side * share)) for side in image_size)
    large = small.resize((width, height), Image.Resampling.BICUBIC, box=(left, top, left + across, top + down))
    return np.asarray(large)
