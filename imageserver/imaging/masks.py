"""AUTOMATIC1111's masks: read from their opacity where they have any, hardened, inverted and blurred."""

import io
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageFilter

from imageserver.errors import InvalidParameter
from imageserver.imaging.decoding import Mask, read_mask

HALF = 128
INVERTED = bytes(range(255, -1, -1))


@dataclass(frozen=True, kw_only=True)
class MaskShape:
    """The operations on a mask, in this order; `blur` is the deviation across and down in the mask's own pixels."""

    hard: bool = True
    inverted: bool = False
    blur: tuple[float, float] = (4.0, 4.0)


def shape_mask(data: bytes, shape: MaskShape, *, name: str, max_pixels: int) -> bytes:
    """Return the shaped mask of a file as a PNG in which white is regenerated; raises InvalidParameter with the limit.

    Source: AUTOMATIC1111's `create_binary_mask` and `StableDiffusionProcessingImg2Img.init`.
    """
    mask = _read(data, name, max_pixels)
    image = Image.frombytes("L", (mask.width, mask.height), mask.data)
    if shape.hard:
        image = image.point([255 * (value > HALF) for value in range(256)])
    if shape.inverted:
        image = ImageChops.invert(image)
    if any(shape.blur):
        image = image.filter(ImageFilter.GaussianBlur(shape.blur))
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _read(data: bytes, name: str, max_pixels: int) -> Mask:
    """Return a mask's opacity, or its brightness if it is opaque."""
    try:
        holes = read_mask(data, name=name, max_pixels=max_pixels, transparent_means_edit=True)
    except InvalidParameter:
        # Opaque; this raises again for anything else that is wrong with it.
        return read_mask(data, name=name, max_pixels=max_pixels, transparent_means_edit=False)
    return Mask(holes.width, holes.height, holes.data.translate(INVERTED))
