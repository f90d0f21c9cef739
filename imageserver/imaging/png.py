"""Write PNG files fast: one row filter in numpy, one deflate by isal, chunks by hand.

Source: the PNG specification, third edition (https://www.w3.org/TR/png-3/).
"""

import struct
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from imageserver.imaging.provenance.xmp import PNG_KEYWORD

try:
    from isal import isal_zlib as deflate
except ImportError:  # Platforms without a wheel, such as 32-bit ARM: zlib's own level 1, three times slower.
    import zlib as deflate  # type: ignore[no-redef]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
FILTER_UP = 2
COLOUR_TYPES = {3: 2, 4: 6}
# Levels 2 and 3 of isal, like the filters sub and average, were measured slower or larger on photographs and flat art.
LEVEL = 1


def write_png(pixels: NDArray[np.uint8], texts: Mapping[str, str], xmp: bytes = b"") -> bytes:
    """Return an exact PNG of an 8-bit RGB or RGBA array (height, width, 3 or 4).

    The packet `xmp`, unless it is empty, and then its `texts` by keyword precede the pixels.
    """
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    chunks = [SIGNATURE, _chunk(b"IHDR", header)]
    # PNG, 11.3.2.5: the packet is international text, uncompressed, without a language.
    chunks += [_chunk(b"iTXt", PNG_KEYWORD.encode() + b"\0\0\0\0\0" + xmp)] if xmp else []
    chunks += [_text_chunk(keyword, text) for keyword, text in texts.items()]
    chunks += [_chunk(b"IDAT", deflate.compress(_filtered(pixels), LEVEL)), _chunk(b"IEND", b"")]
    return b"".join(chunks)


def _filtered(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the filtered rows: a filter byte each, then the difference to the row above, modulo 256."""
    height, width, channels = pixels.shape
    rows = np.ascontiguousarray(pixels).reshape(height, channels * width)
    filtered = np.empty((height, 1 + channels * width), np.uint8)
    filtered[:, 0] = FILTER_UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))))


def _text_chunk(keyword: str, text: str) -> bytes:
    """Return a tEXt chunk where Latin-1 holds `text`, otherwise an uncompressed iTXt chunk."""
    name = keyword.encode("latin-1") + b"\0"
    try:
        return _chunk(b"tEXt", name + text.encode("latin-1"))
    except UnicodeEncodeError:
        return _chunk(b"iTXt", name + b"\0\0\0\0" + text.encode("utf-8"))
