"""Canny's edge detector, as OpenCV computes it with a 3 x 3 aperture.

Source: J. Canny, "A Computational Approach to Edge Detection", 1986; OpenCV 4, `modules/imgproc/src/canny.cpp`.
"""

from typing import Any

import numpy as np

from imageserver.imaging.control.connected_nodes import groups

Grey = np.ndarray[Any, np.dtype[np.uint8]]
Values = np.ndarray[Any, np.dtype[np.int32]]
# Tangent of 22.5 degrees: nearer to an axis than that, the gradient counts as along it.
TANGENT = 0.41421356


def edges(grey: Grey, low: int, high: int) -> Grey:
    """Return 255 for the pixels of edges, 0 for the others: (height, width) like the image.

    An edge begins where the gradient is above `high`, and continues as long as it is above `low`.
    """
    across, down = _gradients(np.pad(grey.astype(np.int32), 1, mode="edge"))
    strength = np.abs(across) + np.abs(down)
    possible = np.pad(_is_ridge(strength, across, down) & (strength > low), 1)
    certain = possible & np.pad(strength > high, 1)
    return np.where(_connected(certain, possible)[1:-1, 1:-1], 255, 0).astype(np.uint8)


def _gradients(padded: Values) -> tuple[Values, Values]:
    """Return Sobel's derivatives, to the right and downwards."""
    columns = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return columns[:, 2:] - columns[:, :-2], rows[2:] - rows[:-2]


def _is_ridge(strength: Values, across: Values, down: Values) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return where the gradient is larger than beside it, in its own direction."""
    padded = np.pad(strength, 1)

    def neighbour(below: int, right: int) -> Values:
        height, width = strength.shape
        return padded[1 + below : 1 + below + height, 1 + right : 1 + right + width]

    flat, steep = np.abs(across), np.abs(down)
    horizontal, vertical = steep < TANGENT * flat, flat < TANGENT * steep
    # Of two equal ones, the one on the left or above goes.
    along = (strength > neighbour(0, -1)) & (strength >= neighbour(0, 1))
    upright = (strength > neighbour(-1, 0)) & (strength >= neighbour(1, 0))
    falling = (strength > neighbour(-1, -1)) & (strength > neighbour(1, 1))
    rising = (strength > neighbour(-1, 1)) & (strength > neighbour(1, -1))
    diagonal = np.where(np.sign(across) * np.sign(down) >= 0, falling, rising)
    return np.where(horizontal, along, np.where(vertical, upright, diagonal))


def _connected(
    certain: np.ndarray[Any, np.dtype[np.bool_]], possible: np.ndarray[Any, np.dtype[np.bool_]]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return the possible pixels that a chain of others connects with a certain one."""
    width, open_ = certain.shape[1], possible.ravel()
    # All certain pixels are node 0, every other possible one is a node of its own.
    uncertain = open_ & ~certain.ravel()
    node = np.where(uncertain, np.cumsum(uncertain), 0)
    pixels = np.flatnonzero(open_)
    one, other = [], []
    for step in (1, width - 1, width, width + 1):
        connected = pixels[open_[pixels + step]]
        one.append(node[connected])
        other.append(node[connected + step])
    group = groups(np.concatenate(one), np.concatenate(other), 1 + int(np.count_nonzero(uncertain)))
    found: np.ndarray[Any, np.dtype[np.bool_]] = possible & (group[node] == group[0]).reshape(possible.shape)
    return found
