"""Measure an image: its colours, the kind and place of what is on it, how many there are, which landscape it shows."""

import functools
import random

import numpy as np
from PIL import Image

from tools.demo.rendering import render
from tools.demo.scenes import Scene, Thing
from tools.demo.stock_pipeline import pixels
from tools.demo.vocabulary import COLOURS, KINDS, LANDSCAPES, RGB

SIDE = 128
TEMPLATE = 32
_NAMES = tuple(COLOURS)
_PALETTE = np.array([COLOURS[name] for name in _NAMES], dtype=np.float32)


def nearest_colour(rgb: np.ndarray) -> str:
    """Name the palette colour nearest to a colour."""
    return _NAMES[int(np.abs(_PALETTE - rgb).sum(-1).argmin())]


def border_colour(image: np.ndarray) -> np.ndarray:
    """Return the median colour of an image's border."""
    edge = [
        image[:6].reshape(-1, 3),
        image[-6:].reshape(-1, 3),
        image[:, :6].reshape(-1, 3),
        image[:, -6:].reshape(-1, 3),
    ]
    return np.asarray(np.median(np.concatenate(edge), 0))


def foreground(image: np.ndarray) -> np.ndarray:
    """Return the mask of what is not background."""
    return np.asarray(np.abs(image - border_colour(image)).sum(-1) > 75)


def components(mask: np.ndarray, least: int = 60) -> list[np.ndarray]:
    """Split a mask into its connected parts of at least `least` pixels, from left to right."""
    left, parts = mask.copy(), []
    height, width = mask.shape
    for y, x in zip(*np.nonzero(mask), strict=True):
        if not left[y, x]:
            continue
        part, queue = np.zeros_like(mask), [(int(y), int(x))]
        left[y, x] = False
        while queue:
            row, column = queue.pop()
            part[row, column] = True
            for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if 0 <= r < height and 0 <= c < width and left[r, c]:
                    left[r, c] = False
                    queue.append((r, c))
        if part.sum() >= least:
            parts.append(part)
    return sorted(parts, key=lambda part: float(np.nonzero(part)[1].mean()))


def centre_of(mask: np.ndarray) -> tuple[float, float]:
    """Return the centre of a mask's bounding box in shares of the image."""
    rows, columns = np.nonzero(mask)
    return (columns.min() + columns.max() + 1) / 2 / mask.shape[1], (rows.min() + rows.max() + 1) / 2 / mask.shape[0]


def _cut(image: np.ndarray, mask: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """Cut a mask's bounding box out, centred on a square of the fill colour, TEMPLATE pixels wide."""
    rows, columns = np.nonzero(mask)
    if not len(rows):  # a thing in the colour of its background
        return np.broadcast_to(fill, (TEMPLATE, TEMPLATE, 3)).astype(np.float32)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    side = max(bottom - top, right - left)
    square = np.broadcast_to(fill, (side, side, 3)).astype(np.float32)
    y, x = (side - (bottom - top)) // 2, (side - (right - left)) // 2
    square[y : y + bottom - top, x : x + right - left] = image[top:bottom, left:right]
    small = Image.fromarray(square.clip(0, 255).astype(np.uint8)).resize((TEMPLATE, TEMPLATE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)


@functools.lru_cache(maxsize=4096)
def _template(kind: str, colour: RGB, background: RGB) -> np.ndarray:
    thing = Thing(kind, "", colour, "centre", "large", 0.5, 0.5, 0.38, frozenset())
    image = pixels(render(Scene(None, None, background, (thing,), "single", 0.0), 256, 256), SIDE)
    return _cut(image, foreground(image), np.array(background, dtype=np.float32))


def name_kind(image: np.ndarray, mask: np.ndarray, among: tuple[str, ...] = KINDS) -> str:
    """Name what the mask shows: the nearest drawing, in the colour and on the background that are found."""
    background = border_colour(image)
    colour = thing_colour(image, mask)
    fill: RGB = tuple(int(value) for value in background)  # type: ignore[assignment]
    body: RGB = tuple(int(value) for value in colour)  # type: ignore[assignment]
    found = _cut(image, mask, background)
    return min(among, key=lambda kind: float(np.abs(found - _template(kind, body, fill)).mean()))


def name_body_colour(image: np.ndarray, mask: np.ndarray, kind: str) -> str:
    """Name the colour of a subject's body: the palette colour whose drawing of that subject is nearest."""
    background = border_colour(image)
    fill: RGB = tuple(int(value) for value in background)  # type: ignore[assignment]
    found = _cut(image, mask, background)
    return min(COLOURS, key=lambda name: float(np.abs(found - _template(kind, COLOURS[name], fill)).mean()))


def thing_colour(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the main colour of what the mask shows: the median of its most frequent palette colour, edges left out."""
    inner = mask.copy()
    inner[1:-1, 1:-1] = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    chosen = image[inner if inner.sum() > 20 else mask]
    nearest = np.abs(chosen[:, None] - _PALETTE[None]).sum(-1).argmin(1)
    return np.asarray(np.median(chosen[nearest == np.bincount(nearest).argmax()], 0))


def _layout(image: np.ndarray) -> np.ndarray:
    small = Image.fromarray(image.clip(0, 255).astype(np.uint8)).resize((16, 16), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)


@functools.lru_cache(maxsize=32)
def _landscape_layouts(width: int, height: int) -> dict[str, np.ndarray]:
    layouts = {}
    for name in LANDSCAPES:
        drawn = [Scene(name, None, (0, 0, 0), (), "none", random.Random(seed).random()) for seed in range(24)]
        layouts[name] = np.stack([_layout(pixels(render(scene, width, height, None, 1), 64)) for scene in drawn])
    return layouts


def name_landscape(image: Image.Image) -> str:
    """Name a landscape: the one whose drawings lie nearest, by their 16 x 16 layout of colours."""
    found = _layout(pixels(image, 64))
    scale = 256 / min(image.size)
    layouts = _landscape_layouts(round(image.width * scale), round(image.height * scale))
    return min(layouts, key=lambda name: float(np.sort(np.abs(layouts[name] - found).mean((1, 2, 3)))[:3].mean()))
