"""An image in the making as an image file: a few pixels from the latents, enlarged to the size of the answer."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imageserver.generation import OutputFormat
from imageserver.imaging.encoding import encode


def image_file(
    pixels: bytes,
    size: tuple[int, int],
    scale: int,
    wanted: tuple[int, int],
    *,
    output_format: OutputFormat,
    compression: int | None = None,
    longest: int | None = None,
) -> bytes:
    """Return the bytes of an image of `wanted` (width, height) from RGB pixels of `size`, row by row.

    Each of them stands for `scale * scale` pixels of the generation. No side is longer than `longest`.
    """
    large = enlarged(pixels, size, scale, wanted, longest=longest)
    return encode(large, output_format=output_format, compression=compression)


def enlarged(
    pixels: bytes, size: tuple[int, int], scale: int, wanted: tuple[int, int], *, longest: int | None = None
) -> NDArray[np.uint8]:
    """Return the pixels (height, width, 3) of the image that `image_file` writes.

    The engine generates at the next multiple its VAE needs and crops to the centre, and so does this.
    """
    small = Image.frombytes("RGB", size, pixels)
    across, down = (min(side, most / scale) for side, most in zip(size, wanted, strict=True))
    left, top = (size[0] - across) / 2, (size[1] - down) / 2
    share = 1.0 if longest is None else min(1.0, longest / max(wanted))
    width, height = (max(1, round(side * share)) for side in wanted)
    large = small.resize((width, height), Image.Resampling.BICUBIC, box=(left, top, left + across, top + down))
    return np.asarray(large)
