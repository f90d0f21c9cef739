"""Training data of the transformer: thumbnails of 16-pixel means (the latents) with their slot descriptions."""

import random
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from tools.demo.codes import describe_scene, rows
from tools.demo.rendering import render
from tools.demo.scenes import sample_scene

Grid = tuple[int, int]  # width and height in tokens of 64 pixels
SQUARE: Grid = (8, 8)
ASPECTS: tuple[Grid, ...] = ((21, 21), (26, 15), (15, 26), (23, 18), (18, 23), (25, 17), (17, 25))
OTHERS: tuple[Grid, ...] = (
    *((side, side) for side in (5, 6, 7, 10, 12, 14, 16, 19, 20)),
    *((6, 8), (8, 6), (12, 8), (8, 12), (16, 9), (9, 16), (12, 10), (10, 12), (14, 8), (8, 14)),
    *((16, 12), (12, 16), (20, 14), (14, 20), (22, 12), (12, 22), (8, 7), (7, 8), (16, 8), (8, 16)),
)
CELL = 4  # thumbnail pixels per token and side


def to_latents(thumbnails: torch.Tensor) -> torch.Tensor:
    """Turn uint8 (n, 4h, 4w, 3) thumbnails into packed (n, h*w, 48) tokens in [-1, 1].

    Latent channel = (dy * 2 + dx) * 3 + rgb; the pipeline packs 2 x 2 latents per token, channel-major.
    """
    count, height, width, _ = thumbnails.shape
    values = thumbnails.float().div(127.5).sub(1)
    latents = (
        values.view(count, height // 2, 2, width // 2, 2, 3)
        .permute(0, 2, 4, 5, 1, 3)
        .reshape(count, 12, height // 2, width // 2)
    )
    packed = latents.view(count, 12, height // 4, 2, width // 4, 2).permute(0, 2, 4, 1, 3, 5)
    return packed.reshape(count, (height // 4) * (width // 4), 48)


def to_thumbnails(tokens: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Undo `to_latents`."""
    width, height = grid
    count = tokens.shape[0]
    latents = (
        tokens.view(count, height, width, 12, 2, 2)
        .permute(0, 3, 1, 4, 2, 5)
        .reshape(count, 2, 2, 3, height * 2, width * 2)
    )
    values = latents.permute(0, 4, 1, 5, 2, 3).reshape(count, height * 4, width * 4, 3)
    return values.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def draw_batch(seed: int, count: int, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Draw scenes on one grid; returns (count, 4h, 4w, 3) thumbnails and (count, 4, 4) descriptions, both uint8."""
    generator = random.Random(seed)
    images = np.empty((count, grid[1] * CELL, grid[0] * CELL, 3), np.uint8)
    described = np.empty((count, 4, 4), np.uint8)
    factor = 16 if grid[0] * grid[1] <= 100 else 8
    for index in range(count):
        scene = sample_scene(generator)
        images[index] = np.asarray(
            render(scene, grid[0] * CELL * factor, grid[1] * CELL * factor, None, 1).reduce(factor)
        )
        described[index] = rows(describe_scene(scene))
    return images, described


def draw_all(path: Path, seed: int, square: int, aspect: int, other: int, processes: int) -> None:
    """Draw the whole training set into one file: `square` scenes at 8 x 8, `aspect` and `other` per other grid."""
    jobs = (
        [(SQUARE, min(2000, square))] * max(1, square // 2000)
        + [(g, aspect) for g in ASPECTS]
        + [(g, other) for g in OTHERS]
    )
    started = time.monotonic()
    parts: dict[Grid, list[tuple[np.ndarray, np.ndarray]]] = {}
    with ProcessPoolExecutor(processes) as pool:
        seeds = [seed * 1_000_003 + index for index in range(len(jobs))]
        results = pool.map(draw_batch, seeds, [count for _, count in jobs], [grid for grid, _ in jobs])
        for (grid, _), part in zip(jobs, results, strict=True):
            parts.setdefault(grid, []).append(part)
    data = {
        grid: (
            torch.from_numpy(np.concatenate([p for p, _ in part])),
            torch.from_numpy(np.concatenate([d for _, d in part])),
        )
        for grid, part in parts.items()
    }
    torch.save(data, path)
    print(f"drew {sum(len(t) for t, _ in data.values())} scenes in {time.monotonic() - started:.0f} s", flush=True)
