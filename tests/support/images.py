"""Image files that tests send, and what is read out of pixels."""

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
import requests
from PIL import Image

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def colours(width=16, height=8):
    """Return an image in which no row, column or corner is like another."""
    down, across = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([down * 20, across * 15, 40 + down + across], -1).astype(np.uint8))


def noise(seed: int = 0, width: int = 64, height: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def one_colour(width: int = 96, height: int = 64, colour: str = "teal") -> bytes:
    """Return a PNG of one colour."""
    return file_of(Image.new("RGB", (width, height), colour))


def file_of(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def coded(image: Image.Image | bytes) -> str:
    """Return an image, or a file, in base64."""
    return base64.b64encode(image if isinstance(image, bytes) else file_of(image)).decode()


def opened(received: requests.Response | bytes | str) -> Image.Image:
    """Return the image in an answer, which must be a success, in a file, or in base64."""
    if isinstance(received, requests.Response):
        assert received.status_code == 200, received.text
        received = received.content
    data = base64.b64decode(received, validate=True) if isinstance(received, str) else received
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


def pixels(received: requests.Response | bytes | str) -> np.ndarray[Any, Any]:
    """Return the RGB pixels of what `opened` takes, wide enough to subtract."""
    return np.asarray(opened(received).convert("RGB")).astype(int)


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
