"""Read an image's format and size from its header, and refuse images that would take too long, before decoding.

Pillow does not do this: its GIF and WebP readers allocate memory for the image while they open it. Sources: W3C PNG,
ITU-T T.81 (JPEG), RFC 9649 (WebP), GIF89a, Microsoft's BITMAPINFOHEADER, and those of `heif` and `av1`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from struct import error as StructError  # noqa: N812
from struct import unpack_from
from typing import Literal

from imageserver.imaging import av1, heif

Format = Literal["PNG", "JPEG", "WebP", "BMP", "GIF", "AVIF", "HEIC"]
Size = tuple[int, int]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Everything else, such as texts, colour profiles and further frames, is ignored.
PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND"}
PNG_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
MAX_TEXTS = 1000
IHDR_BYTES = 25
# Pillow walks over blocks in Python: 20 MB of empty ones kept a thread for 7 s. 50,000 take 50 ms.
MAX_BLOCKS = 50_000
# Every scan goes over the whole image again: 500 of them made 82 kB take 8 s. Encoders write about 10.
MAX_SCANS = 100
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
# All but the tables DHT and DAC and the reserved JPG among 0xC0 to 0xCF start a frame.
FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Stuffed zeros, fill bytes and restart marks belong to the data between the markers.
JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
WITHOUT_LENGTH = {0x01, 0xD8}
RUN_LENGTH_ENCODED = {1, 2}
# The first of these brands decides: both kinds of files may call themselves mif1 as well.
BRANDS: dict[bytes, Format] = {b"avif": "AVIF", b"heic": "HEIC", b"heix": "HEIC"}
# Of all coded images together, for each pixel of the image: its transparency, a thumbnail and the edges of tiles.
MAX_CODED_RATIO, CODED_ALLOWANCE = 4, 2**20


class UnreadableImage(Exception):
    """The bytes are not a readable image; the text completes a sentence that begins with the field's name."""


@dataclass(frozen=True)
class Header:
    """An image's format and its size in pixels as stored, before EXIF's orientation."""

    format: Format
    size: Size


def read_header(data: bytes) -> Header:
    """Return the file's format and size; raises UnreadableImage for anything but an image."""
    if not data:
        raise UnreadableImage("is empty.")
    kind = _format_of(data)
    try:
        size = READERS[kind](data)
    except (StructError, IndexError, KeyError, ValueError, av1.UnsupportedStream):
        raise damaged(kind) from None
    if min(size) < 1:
        raise damaged(kind)
    return Header(kind, size)


def damaged(kind: Format) -> UnreadableImage:
    """Return the error for a file that breaks off or contradicts itself."""
    article = "an" if kind == "AVIF" else "a"
    return UnreadableImage(f"is {article} {kind} file that is damaged or of an unsupported kind.")


def bare_png(data: bytes) -> bytes:
    """Return a PNG with only the chunks that define its pixels and their orientation."""
    kept = [data[start:end] for kind, start, end in _png_chunks(data) if kind in PNG_PIXELS]
    return PNG_SIGNATURE + b"".join(kept)


def textual_png(data: bytes) -> bytes:
    """Return a PNG with its texts before its pixels; raises UnreadableImage for more than MAX_TEXTS of them."""
    texts = [data[start:end] for kind, start, end in _png_chunks(data) if kind in PNG_TEXTS]
    if len(texts) > MAX_TEXTS:
        raise UnreadableImage(f"is a PNG file of more than {MAX_TEXTS} texts, which is the limit.")
    head, pixels = data[: len(PNG_SIGNATURE) + IHDR_BYTES], bare_png(data)
    return head + b"".join(texts) + pixels[len(head) :]


def _format_of(data: bytes) -> Format:
    if data.startswith(PNG_SIGNATURE):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(b"BM"):
        return "BMP"
    for brand in heif.brands_of(data):
        if brand in BRANDS:
            return BRANDS[brand]
    raise UnreadableImage("is not a readable image; supported are PNG, JPEG, WebP, AVIF, GIF and BMP files.")


def _png_size(data: bytes) -> Size:
    if data[12:16] != b"IHDR":
        raise damaged("PNG")
    width, height = unpack_from(">II", data, 16)
    return width, height


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, the start and the end of every chunk."""
    position = len(PNG_SIGNATURE)
    for _ in range(MAX_BLOCKS):
        if position + 8 > len(data):
            return
        length, kind = unpack_from(">I4s", data, position)
        end = position + 12 + length
        yield kind, position, end
        position = end
    raise too_many_blocks("PNG")


def too_many_blocks(kind: Format) -> UnreadableImage:
    """Return the error for a file that would take too long to read through."""
    return UnreadableImage(f"is a {kind} file of more than {MAX_BLOCKS} blocks, which is the limit.")


def _jpeg_size(data: bytes) -> Size:
    size, scans, position = (0, 0), 0, 2
    for _ in range(MAX_BLOCKS):
        marker = JPEG_MARKER.search(data, position)
        if marker is None:
            return size
        code, position = data[marker.start() + 1], marker.end()
        if code == END_OF_IMAGE:
            return size
        if code in WITHOUT_LENGTH:
            continue
        if code in FRAMES:
            height, width = unpack_from(">HH", data, position + 3)
            size = width, height
        scans += code == START_OF_SCAN
        if scans > MAX_SCANS:
            raise UnreadableImage(f"is a JPEG file of more than {MAX_SCANS} scans, which is the limit.")
        position += unpack_from(">H", data, position)[0]
    raise too_many_blocks("JPEG")


def _webp_size(data: bytes) -> Size:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[start : start + 3], "little") + 1 for start in (24, 27))
    elif kind == b"VP8L":
        (bits,) = unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in unpack_from("<HH", data, 26))
    else:
        raise damaged("WebP")
    return width, height


def _gif_size(data: bytes) -> Size:
    """Return the size of the screen, widened where the first frame reaches beyond it."""
    width, height, flags = unpack_from("<HHB", data, 6)
    position = 13 + (3 * (2 << (flags & 7)) if flags & 0x80 else 0)
    blocks = 0
    while (kind := data[position : position + 1]) != b",":
        if not kind or kind == b";":
            raise damaged("GIF")
        position += 1
        if kind == b"!":
            position += 1
            while length := data[position]:
                position += 1 + length
                blocks += 1
            position += 1
        blocks += 1
        if blocks > MAX_BLOCKS:
            raise too_many_blocks("GIF")
    left, top, across, down = unpack_from("<HHHH", data, position + 1)
    return max(width, left + across), max(height, top + down)


def _bmp_size(data: bytes) -> Size:
    if unpack_from("<I", data, 14)[0] == 12:
        width, height = unpack_from("<HH", data, 18)
        return width, height
    width, height, compression = unpack_from("<ii4xI", data, 18)
    if compression in RUN_LENGTH_ENCODED:
        # Pillow decodes these in Python: 20 MB took 5 s.
        raise UnreadableImage("is a run-length encoded BMP file, which is not supported.")
    # A negative height means that the rows run from the top.
    return width, abs(height)


def _avif_size(data: bytes) -> Size:
    contents = heif.read_contents(data)
    width, height = contents.size
    coded = sum(av1.frame_pixels(stream) for kind, stream in contents.coded if kind == b"av01")
    if not 0 < coded <= MAX_CODED_RATIO * width * height + CODED_ALLOWANCE:
        raise damaged("AVIF")
    return width, height


def _heic_size(data: bytes) -> Size:
    return heif.read_contents(data).size


READERS = {
    "PNG": _png_size,
    "JPEG": _jpeg_size,
    "WebP": _webp_size,
    "GIF": _gif_size,
    "BMP": _bmp_size,
    "AVIF": _avif_size,
    "HEIC": _heic_size,
}
