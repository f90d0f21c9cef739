"""Decoded images and masks in the size of a generation: stretched, cropped, padded, or side by side."""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from PIL import Image

from imageserver.errors import InvalidParameter
from imageserver.imaging.decoding import Mask, Pixels

FitMode = Literal["stretch", "crop", "pad"]

# Of 16 images of two megapixels side by side; as many long ones took 4 GB.
MAX_ROW_PIXELS = 32 * 2**20


def fit_image(pixels: Pixels, width: int, height: int, mode: FitMode) -> Pixels:
    """Return the image in another size, filtered with Lanczos; in its own size it is unchanged.

    `stretch` ignores the aspect ratio, `crop` fills the size and cuts off the rest evenly, `pad` fits the whole image
    in and extends its edges. Source: AUTOMATIC1111's resize modes 0, 1 and 2.
    """
    image = Image.frombytes("RGB", (pixels.width, pixels.height), pixels.data)
    return Pixels(width, height, _fit(image, (width, height), mode, Image.Resampling.LANCZOS).tobytes())


def fit_mask(mask: Mask, width: int, height: int, mode: FitMode) -> Mask:
    """Return the mask in another size like `fit_image`, but bilinear: Lanczos rings at its edges."""
    image = Image.frombytes("L", (mask.width, mask.height), mask.data)
    return Mask(width, height, _fit(image, (width, height), mode, Image.Resampling.BILINEAR).tobytes())


def side_by_side(images: Iterable[Pixels], max_height: int, *, name: str = "image") -> tuple[Pixels, int]:
    """Return the images in one row as high as the first, at most `max_height`, and the width of the first in it.

    Raises InvalidParameter, which names the field `name`, for more than MAX_ROW_PIXELS.
    """
    parts: list[Image.Image] = []
    pixels_in_row = 0
    for pixels in images:
        height = parts[0].height if parts else min(max_height, pixels.height)
        width = max(1, round(pixels.width * height / pixels.height))
        pixels_in_row += width * height
        if pixels_in_row > MAX_ROW_PIXELS:
            raise InvalidParameter(
                f"{name}: the images put side by side have more than {MAX_ROW_PIXELS} pixels; the model sees them in "
                "one row.",
                param=name,
            )
        scaled = fit_image(pixels, width, height, "stretch")
        parts.append(Image.frombytes("RGB", (width, height), scaled.data))
    row = Image.new("RGB", (sum(part.width for part in parts), parts[0].height))
    left = 0
    for part in parts:
        row.paste(part, (left, 0))
        left += part.width
    return Pixels(row.width, row.height, row.tobytes()), parts[0].width


def over_the_first(mask: Mask, first: int, row: Pixels) -> Mask:
    """Return the mask, stretched over the first image of a row, `first` pixels wide; it keeps the others."""
    canvas = Image.new("L", (row.width, row.height), 0)
    fitted = fit_mask(mask, first, row.height, "stretch")
    canvas.paste(Image.frombytes("L", (first, row.height), fitted.data), (0, 0))
    return Mask(row.width, row.height, canvas.tobytes())


def _fit(image: Image.Image, size: tuple[int, int], mode: FitMode, filtered: Image.Resampling) -> Image.Image:
    if image.size == size:
        return image
    if mode == "stretch":
        return image.resize(size, filtered)
    scales = [wanted / given for wanted, given in zip(size, image.size, strict=True)]
    if mode == "crop":
        scale = max(scales)
        margins = [(given - wanted / scale) / 2 for wanted, given in zip(size, image.size, strict=True)]
        left, top = (max(0.0, margin) for margin in margins)
        return image.resize(size, filtered, box=(left, top, image.width - left, image.height - top))
    scale = min(scales)
    across, down = (min(wanted, max(1, round(given * scale))) for wanted, given in zip(size, image.size, strict=True))
    inner = np.asarray(image.resize((across, down), filtered))
    sides, ends = size[0] - across, size[1] - down
    margins_around = [(ends // 2, ends - ends // 2), (sides // 2, sides - sides // 2), (0, 0)][: inner.ndim]
    return Image.fromarray(np.pad(inner, margins_around, mode="edge"))
