"""Images and masks that clients send: checked from their headers, decoded and turned upright."""

import importlib
import io
import warnings
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from imageserver.errors import InvalidParameter
from imageserver.imaging.headers import Format, Header, UnreadableImage, bare_png, damaged, read_header

# Lanczos needs 48 bytes for every pixel of a side: this bounds the memory of an image with one row.
MAX_SIDE = 32_768
# What decoding takes at its peak; 10 to 15 were measured for all formats and modes.
BYTES_PER_PIXEL, BYTES_KEPT = 16, 3
DECODERS: dict[Format, type[ImageFile.ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "AVIF": AvifImageFile,
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
    """Return the pixels of a PNG, JPEG, WebP, AVIF, HEIC, GIF or BMP file; an animation gives its first frame.

    EXIF's orientation is applied, transparency becomes white, colour profiles are ignored and 16 bits are cut to 8.
    Raises InvalidParameter, which names the field `name` and the limit, for everything else.
    """
    image = _read(data, name, max_pixels)
    return Pixels(image.width, image.height, _on("white", image).tobytes())


def read_image_and_holes(data: bytes, *, name: str, max_pixels: int) -> tuple[Pixels, Mask | None]:
    """Return the pixels of an image like `read_image`, and how transparent they are as a mask.

    It is None where no pixel is fully transparent: soft edges are no hole. Source: OpenAI's reference of image edits.
    """
    image = _read(data, name, max_pixels)
    holes = _holes(image)
    if holes is not None and not holes.histogram()[255]:
        holes = None
    mask = None if holes is None else Mask(image.width, image.height, holes.tobytes())
    return Pixels(image.width, image.height, _on("white", image).tobytes()), mask


def read_mask(data: bytes, *, name: str, max_pixels: int, transparent_means_edit: bool) -> Mask:
    """Return a mask from an image file; raises InvalidParameter, which names the field `name` and the limit.

    White is regenerated, black is kept and grey is mixed; transparent pixels count as black. With
    `transparent_means_edit` (OpenAI's masks) the colours mean nothing: transparent pixels are regenerated. A mask that
    makes sense only the other way is refused.
    """
    image = _read(data, name, max_pixels)
    holes = _holes(image)
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
        with _decoder_of(kind)(stream) as image:
            # Decode only what was checked.
            if not _is_as_checked(image.size, size, kind):
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


def _is_as_checked(size: tuple[int, int], checked: tuple[int, int], kind: Format) -> bool:
    """Return whether an image has the size in its header; HEIC's decoder turns and cuts it as the file says."""
    if kind != "HEIC":
        return size == checked
    return all(side <= limit for side, limit in zip(sorted(size), sorted(checked), strict=True))


def _decoder_of(kind: Format) -> type[ImageFile.ImageFile]:
    """Return Pillow's class for a format; that of HEIC is in a package of its own, whose decoder is not free to use."""
    if kind != "HEIC":
        return DECODERS[kind]
    try:
        heif = importlib.import_module("pillow_heif")
    except ImportError:
        raise UnreadableImage(
            "is a HEIC file, which this server reads where pillow-heif is installed; send JPEG, PNG, WebP or AVIF."
        ) from None
    return cast(type[ImageFile.ImageFile], heif.HeifImageFile)


def _holes(image: Image.Image) -> Image.Image | None:
    """Return how transparent every pixel is, 255 at most; None for an opaque image."""
    holes = ImageChops.invert(image.getchannel("A")) if image.mode == "RGBA" else None
    return None if holes is None or holes.getbbox() is None else holes


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
