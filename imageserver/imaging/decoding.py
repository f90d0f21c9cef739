"""Images and masks that clients send: checked from their headers, decoded, turned upright, and fitted to a size."""

import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from imageserver.errors import InvalidParameter
from imageserver.imaging.headers import Format, Header, UnreadableImage, bare_png, damaged, read_header

FitMode = Literal["stretch", "crop", "pad"]

# Lanczos needs 48 bytes for every pixel of a side: this bounds the memory of an image with one row.
MAX_SIDE = 32_768
# Of 16 images of two megapixels side by side; as many long ones took 4 GB.
MAX_ROW_PIXELS = 32 * 2**20
# What decoding takes at its peak; 10 to 15 were measured for all formats and modes.
BYTES_PER_PIXEL, BYTES_KEPT = 16, 3
DECODERS: dict[Format, type[ImageFile.ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
}
# Source: Exif 3.0, 4.6.5.1.6; a value of 1, and any unknown one, leaves the image as it is.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Pixels:
    """An image: `height * width * 3` bytes of RGB, row by row from the top."""

    width: int
    height: int
    data: bytes


@dataclass(frozen=True)
class Mask:
    """The area to regenerate: `height * width` bytes, row by row from the top; 255 regenerates, 0 keeps the image."""

    width: int
    height: int
    data: bytes


def read_size(data: bytes, *, name: str, max_pixels: int) -> tuple[int, int]:
    """Return the width and height of an image file as stored; raises InvalidParameter like `read_image`."""
    try:
        return _header(data, max_pixels).size
    except UnreadableImage as error:
        raise InvalidParameter(f"{name} {error}", param=name) from error


def read_image(data: bytes, *, name: str, max_pixels: int) -> Pixels:
    """Return the pixels of a PNG, JPEG, WebP, GIF or BMP file; an animation gives its first frame.

    EXIF's orientation is applied, transparency becomes white, colour profiles are ignored and 16 bits are cut to 8.
    Raises InvalidParameter, which names the field `name` and the limit, for everything else.
    """
    image = _read(data, name, max_pixels)
    return Pixels(image.width, image.height, _on("white", image).tobytes())


def read_mask(data: bytes, *, name: str, max_pixels: int, transparent_means_edit: bool) -> Mask:
    """Return a mask from an image file; raises InvalidParameter, which names the field `name` and the limit.

    White is regenerated, black is kept and grey is mixed; transparent pixels count as black. With
    `transparent_means_edit` (OpenAI's masks) the colours mean nothing: transparent pixels are regenerated. A mask that
    makes sense only the other way is refused.
    """
    image = _read(data, name, max_pixels)
    holes = ImageChops.invert(image.getchannel("A")) if image.mode == "RGBA" else None
    if holes is not None and holes.getbbox() is None:
        holes = None
    if transparent_means_edit:
        if holes is None:
            raise InvalidParameter(
                f"{name} has no transparent pixels, which mark what to regenerate. Send a PNG with an alpha channel.",
                param=name,
            )
        generated = holes
    else:
        generated = _on("black", image).convert("L")
        if holes is not None and generated.getbbox() is None:
            raise InvalidParameter(
                f"{name} has only transparent and black pixels: paint the area to regenerate in white.", param=name
            )
    return Mask(image.width, image.height, generated.tobytes())


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
    """Return the mask for a row whose first image is `first` pixels wide; it keeps the others."""
    canvas = Image.new("L", (row.width, row.height), 0)
    fitted = fit_mask(mask, first, row.height, "stretch")
    canvas.paste(Image.frombytes("L", (first, row.height), fitted.data), (0, 0))
    return Mask(row.width, row.height, canvas.tobytes())


def _read(data: bytes, name: str, max_pixels: int) -> Image.Image:
    """Return an upright image in mode RGB or RGBA."""
    try:
        header = _header(data, max_pixels)
        return _decode(data, header.format, header.size)
    except UnreadableImage as error:
        raise InvalidParameter(f"{name} {error}", param=name) from error


def _header(data: bytes, max_pixels: int) -> Header:
    """Return the header of an image that is not too large; raises UnreadableImage."""
    header = read_header(data)
    width, height = header.size
    if max(width, height) > MAX_SIDE:
        raise UnreadableImage(f"is {width}x{height}; the limit for a side is {MAX_SIDE} pixels.")
    if width * height > max_pixels:
        raise UnreadableImage(f"is {width}x{height}, {width * height} pixels; the limit is {max_pixels}.")
    return header


def _decode(data: bytes, kind: Format, size: tuple[int, int]) -> Image.Image:
    # Pillow's warnings about a client's file do not belong in the log; `catch_warnings` is not thread-safe.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    stream = io.BytesIO(bare_png(data) if kind == "PNG" else data)
    try:
        with DECODERS[kind](stream) as image:
            # Decode only what was checked.
            if image.size != size:
                raise damaged(kind)
            image.load()
            whole = _eight_bits(image) if image.mode == "I;16" else image
            plain = whole.convert("RGBA" if whole.has_transparency_data else "RGB")
            turn = UPRIGHT.get(_orientation(image))
    except UnreadableImage:
        raise
    # Pillow raises whatever the broken bytes lead to: OSError, SyntaxError, struct.error, ValueError, ...
    except Exception as error:
        raise damaged(kind) from error
    return plain if turn is None else plain.transpose(turn)


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    # A damaged EXIF block does not spoil the image.
    except Exception:
        return None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return a grey image from 16 bits, with alpha where one value is the transparent one."""
    values = np.asarray(image)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _on(colour: str, image: Image.Image) -> Image.Image:
    """Return the image in RGB, laid on a colour where it is transparent."""
    if image.mode == "RGB":
        return image
    ground = Image.new("RGB", image.size, colour)
    ground.paste(image, mask=image.getchannel("A"))
    return ground


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
