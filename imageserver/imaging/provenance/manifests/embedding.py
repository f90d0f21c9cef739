"""Where the manifest is in a file, and the file as it was before it was signed.

Source: the C2PA specification 2.2, appendix A.3 (embedding manifests into PNG, JPEG and WebP).
"""

from struct import error as StructError  # noqa: N812
from struct import pack, unpack_from
from typing import Literal

MediaType = Literal["image/png", "image/jpeg", "image/webp"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The manifest's chunk follows the header, which begins every PNG.
PNG_HEADER_END = 33
JPEG_START, APP11 = b"\xff\xd8", 0xEB
# Our own files have fewer segments and chunks; in those of others they may be endless.
MAX_BLOCKS = 100


def media_type_of(data: bytes) -> MediaType | None:
    """Return the type of a file that may have a manifest of ours, None for any other."""
    if data.startswith(PNG_SIGNATURE):
        return "image/png"
    if data.startswith(JPEG_START):
        return "image/jpeg"
    return "image/webp" if data.startswith(b"RIFF") and data[8:12] == b"WEBP" else None


def without_manifest(data: bytes) -> bytes:
    """Return a file that this server has signed as it was before; files without a manifest as they are."""
    try:
        match media_type_of(data):
            case "image/png":
                return _bare_png(data)
            case "image/jpeg":
                return _bare_jpeg(data)
            case "image/webp":
                return _bare_webp(data)
    except StructError:
        # It ends where a length should be.
        pass
    return data


def _bare_png(data: bytes) -> bytes:
    if data[PNG_HEADER_END + 4 : PNG_HEADER_END + 8] != b"caBX":
        return data
    (length,) = unpack_from(">I", data, PNG_HEADER_END)
    return data[:PNG_HEADER_END] + data[PNG_HEADER_END + 12 + length :]


def _bare_jpeg(data: bytes) -> bytes:
    position, kept = 2, [data[:2]]
    for _ in range(MAX_BLOCKS):
        mark, kind, length = unpack_from(">BBH", data, position)
        # Anything but a segment of an application begins the image itself.
        if mark != 0xFF or not 0xE0 <= kind <= 0xEF:
            break
        end = position + 2 + length
        kept += [data[position:end]] if kind != APP11 else []
        position = end
    return b"".join(kept) + data[position:]


def _bare_webp(data: bytes) -> bytes:
    position, kept = 12, [data[8:12]]
    for _ in range(MAX_BLOCKS):
        if position >= len(data):
            break
        (length,) = unpack_from("<I", data, position + 4)
        end = position + 8 + length + length % 2
        kept += [data[position:end]] if data[position : position + 4] != b"C2PA" else []
        position = end
    content = b"".join(kept) + data[position:]
    return b"RIFF" + pack("<I", len(content)) + content
