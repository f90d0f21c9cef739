"""Image files that tests send, and what is read out of pixels."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def colours(width=16, height=8):
    """Return an image in which no row, column or corner is like another."""
    down, across = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([down * 20, across * 15, 40 + down + across], -1).astype(np.uint8))


def file_of(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def array_of(read):
    """Return pixels as (height, width, 3) and a mask as (height, width)."""
    values = np.frombuffer(read.data, np.uint8)
    return values.reshape(read.height, read.width, -1).squeeze(-1 if len(read.data) == read.width * read.height else ())


def colour_at(pixels, x, y):
    return tuple(int(value) for value in array_of(pixels)[y, x])


def chunk(kind, content=b""):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(image, *chunks):
    """Return a PNG with further chunks behind its header."""
    data = file_of(image)
    return data[:33] + b"".join(chunks) + data[33:]
