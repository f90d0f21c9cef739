"""The second stage of a generation: its image enlarged with Lanczos, then generated over tile by tile."""

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
from PIL import Image

from imageserver.engine.pipelines.init_image import Bytes
from imageserver.generation import Upscale

# Between the seeds of tiles, so that no two have the same noise; those of the images of a request are neighbours.
SEED_STRIDE = 1_000_003


def upscaled(image: torch.Tensor, upscale: Upscale, generate: Callable[[int, bytes], torch.Tensor]) -> torch.Tensor:
    """Return an image (height, width, 3) of bytes in its new size.

    `generate` returns a tile of the size `upscale.tile`, generated from the pixels it is given. A tile starts from what
    its neighbours before it have become, and fades into them where they overlap.
    """
    enlarged = Image.fromarray(image.numpy()).resize((upscale.width, upscale.height), Image.Resampling.LANCZOS)
    canvas = np.array(enlarged)
    if upscale.strength:
        columns, rows = upscale.grid
        wide, high = upscale.tile
        lefts, tops = _places(upscale.width, wide, columns), _places(upscale.height, high, rows)
        for number, (row, column) in enumerate(product(range(rows), range(columns))):
            top, left = tops[row], lefts[column]
            box = canvas[top : top + high, left : left + wide]
            tile = generate(number, box.tobytes()).numpy()
            down = _fade(high, tops[row - 1] + high - top if row else 0)
            across = _fade(wide, lefts[column - 1] + wide - left if column else 0)
            box[:] = _mixed(box, tile, down[:, None] * across[None, :])
    return torch.from_numpy(canvas)


def _places(length: int, tile: int, count: int) -> list[int]:
    """Return where tiles begin, spread evenly from end to end."""
    return [0] if count == 1 else [round(index * (length - tile) / (count - 1)) for index in range(count)]


def _fade(length: int, overlap: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return the share of a tile along one side: it grows over what it shares with the tile before it."""
    share = np.ones(length, np.float32)
    share[:overlap] = (np.arange(overlap, dtype=np.float32) + 1) / (overlap + 1)
    return share


def _mixed(before: Bytes, tile: Bytes, share: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> Bytes:
    mixed = before + (tile.astype(np.float32) - before) * share[..., None]
    return mixed.round().astype(np.uint8)
