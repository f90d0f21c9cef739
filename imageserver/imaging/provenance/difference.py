"""How two images differ, pixel by pixel."""

from dataclasses import dataclass

import numpy as np

from imageserver.imaging.decoding import Pixels


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Where and how much two images differ: `share` of the pixels, `largest` of a colour's 0 to 255, within `box`.

    The box is left, top, right, bottom in pixels, None for equal images.
    """

    largest: int = 0
    share: float = 0.0
    box: tuple[int, int, int, int] | None = None


def difference_of(first: Pixels, second: Pixels) -> Difference:
    """Return the difference of two images of one size."""
    shape = (first.height, first.width, 3)
    one, other = (np.frombuffer(image.data, np.uint8).reshape(shape) for image in (first, second))
    # Unsigned bytes cannot go below zero.
    distance = (np.maximum(one, other) - np.minimum(one, other)).max(axis=2)
    rows, columns = (np.flatnonzero(distance.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return Difference()
    return Difference(
        largest=int(distance.max()),
        share=float(np.count_nonzero(distance) / distance.size),
        box=(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1),
    )
