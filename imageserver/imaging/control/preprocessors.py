"""The preprocessors of control images, by the names of the ControlNet extension.

Source: sd-webui-controlnet 1.1.455, `scripts/processor.py`.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from imageserver.imaging.control.canny import edges

# The extension's own thresholds.
LOW, HIGH = 100, 200


def canny(image: Image.Image) -> Image.Image:
    """Return the edges of an image, white on black."""
    return Image.fromarray(edges(np.asarray(image.convert("L")), LOW, HIGH)).convert("RGB")


def invert(image: Image.Image) -> Image.Image:
    """Return the negative of an image: lines on white become lines on black."""
    return Image.eval(image, lambda value: 255 - value)


PREPROCESSORS: dict[str, Callable[[Image.Image], Image.Image]] = {"canny": canny, "invert": invert}


def preprocessed(name: str, width: int, height: int, data: bytes) -> bytes:
    """Return `height * width * 3` bytes of RGB as the preprocessor `name` changes them."""
    return PREPROCESSORS[name](Image.frombytes("RGB", (width, height), data)).tobytes()
