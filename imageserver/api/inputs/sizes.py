"""The ways in which clients write the size of an image: in pixels, with any sign between them, or as a shape."""

import math
import re
from typing import Any

import aspect_ratios

PIXELS = r"[0-9]{1,7} *[xX×*] *[0-9]{1,7}"
SHAPE = r"[1-9][0-9]{0,3} *: *[1-9][0-9]{0,3}"
SIZE_PATTERN = rf"^ *{PIXELS} *$"
# OpenAI's field: pixels, a shape, or auto.
ANY_SIZE_PATTERN = rf"^ *({PIXELS}|{SHAPE}|[aA][uU][tT][oO]) *$"

NUMBER = re.compile("[0-9]+")
# The sides of a shape that has no name; every model's multiple divides it or is reached by cropping.
SHAPE_MULTIPLE = 16


def sides_of(size: str) -> tuple[int, int]:
    """Return the width and height in a text of SIZE_PATTERN."""
    width, height = NUMBER.findall(size)
    return int(width), int(height)


def size_fields(size: str) -> dict[str, Any]:
    """Return the fields of `POST /generate` that mean a text of ANY_SIZE_PATTERN; none for auto.

    A shape means what it means as `aspect_ratio`; one without a name has as many pixels as 1:1.
    """
    plain = size.replace(" ", "").lower()
    if plain == "auto":
        return {}
    return shape_fields(plain) if ":" in plain else {"size": plain}


def shape_fields(shape: str) -> dict[str, Any]:
    """Return the fields of `POST /generate` that mean a shape; anything else is left to them to refuse."""
    plain = shape.replace(" ", "")
    if plain in aspect_ratios.ASPECT_RATIOS or not re.fullmatch(SHAPE, plain, re.ASCII):
        return {"aspect_ratio": plain}
    across, down = sides_of(plain)
    pixels = math.prod(aspect_ratios.size_of("1:1"))
    sides = (math.sqrt(pixels * share) for share in (across / down, down / across))
    return {"size": "x".join(str(max(1, round(side / SHAPE_MULTIPLE)) * SHAPE_MULTIPLE) for side in sides)}
