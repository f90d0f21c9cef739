"""Images as the OpenAI SDK sends and receives them."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image


def opened(text: str) -> Image.Image:
    """Return the image in base64."""
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        image.load()
        return image


def pixels(text: str) -> np.ndarray[Any, Any]:
    """Return the RGB pixels of the image in base64, wide enough to subtract."""
    return np.asarray(opened(text).convert("RGB")).astype(int)


def image(width: int = 96, height: int = 64, colour: str = "teal") -> bytes:
    """Return a PNG of one colour."""
    return png(Image.new("RGB", (width, height), colour))


def mask(width: int = 96, height: int = 64) -> bytes:
    """Return a PNG whose left half is transparent: OpenAI's way of asking to regenerate it."""
    image = Image.new("RGBA", (width, height), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, width // 2, height))
    return png(image)


def data_url(data: bytes) -> str:
    """Return a PNG as the address that holds it."""
    return "data:image/png;base64," + base64.b64encode(data).decode()


def png(image: Image.Image) -> bytes:
    """Return an image as a PNG file."""
    target = io.BytesIO()
    image.save(target, "PNG")
    return target.getvalue()
