"""Measure what `quality` high and fast gain and cost with each cache: `python -m benchmarks.quality_tiers`.

The engine generates in this process, without a server. Exact, high and fast take turns for every image, so that a busy
machine slows all three; the error is against the exact image of the same seed.
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.traffic import ImageRequest, RequestSource
from imageserver.engine.models.initial_model import open_model_pool
from imageserver.generation import Generation, Quality
from imageserver.protocol.messages import Finished, Message, Run
from imageserver.settings import Settings

CACHES = ("taylorseer", "first_block", "magcache")
HEADINGS = ("cache", "quality", "speed-up", "mean error", "worst image's")


@dataclass(frozen=True)
class Gain:
    """One cache and tier: the speed-up, and mean absolute errors of images in levels of 255."""

    cache: str
    quality: Quality
    speed_up: float
    mean_error: float
    worst_error: float

    def row(self) -> tuple[str, ...]:
        return (
            self.cache, self.quality, f"{self.speed_up:.2f}x", f"{self.mean_error:.2f}", f"{self.worst_error:.2f}"
        )  # fmt: skip


class TierEngine:
    """An engine with one cache, and the last image it sent."""

    def __init__(self, model: str, cache: str, folder: Path) -> None:
        def keep(message: Message, raw: bytes) -> None:
            if isinstance(message, Finished):
                self._image = raw

        settings = Settings(model=model, quality_cache=cache, state_dir=folder / cache, max_batch=1)
        self._pool = open_model_pool(settings, lambda phase, sentence, fraction: print(f"  {sentence}"), keep)

    def generate(self, image_request: ImageRequest, quality: Quality) -> tuple[float, np.ndarray]:
        """Return the seconds and the pixels of one image."""
        generation = Generation(
            prompt=image_request.prompt,
            negative_prompt=" ",
            width=image_request.side,
            height=image_request.side,
            steps=image_request.steps,
            true_cfg_scale=image_request.true_cfg_scale,
            seed=image_request.seed,
            quality=quality,
            model=self._pool.loaded[0].name,
        )
        self._image = b""
        began = time.perf_counter()
        self._pool.add(Run(job=1, generation=generation), b"")
        while self._pool.step_scheduler.busy:
            self._pool.step_scheduler.step()
        while not self._image:
            time.sleep(0.001)  # another thread turns the image into bytes
        return time.perf_counter() - began, np.frombuffer(self._image, np.uint8).astype(np.int16)


def measure(engine: TierEngine, cache: str, image_requests: list[ImageRequest]) -> list[Gain]:
    """Generate every request in every quality."""
    ratios: dict[Quality, list[float]] = {"high": [], "fast": []}
    errors: dict[Quality, list[float]] = {"high": [], "fast": []}
    engine.generate(image_requests[0], "fast")  # the first one is slower
    for image_request in image_requests:
        seconds, exact = engine.generate(image_request, "exact")
        for quality in ratios:
            tiered_seconds, tiered = engine.generate(image_request, quality)
            ratios[quality].append(seconds / tiered_seconds)
            errors[quality].append(float(np.abs(tiered - exact).mean()))
    return [
        Gain(cache, quality, statistics.median(ratios[quality]), statistics.fmean(found), max(found))
        for quality, found in errors.items()
    ]


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality_tiers", description=__doc__)
    parser.add_argument("--cache", nargs="+", choices=CACHES, default=list(CACHES), help="caches; all by default")
    parser.add_argument("--model", default="demo", help="model, as in the setting MODEL")
    parser.add_argument("--images", type=int, default=24, help="images per cache and quality")
    parser.add_argument("--steps", type=int, default=20, help="denoising steps")
    parser.add_argument("--side", type=int, default=512, help="width and height in pixels")
    chosen = parser.parse_args()
    source = RequestSource(seed=700)
    image_requests = [source.next((chosen.steps,), chosen.side, true_cfg_scale=4.0) for _ in range(chosen.images)]
    gains: list[Gain] = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        for cache in chosen.cache:
            print(cache, flush=True)
            gains += measure(TierEngine(chosen.model, cache, Path(folder)), cache, image_requests)
    for cells in (HEADINGS, ("---",) * len(HEADINGS), *(gain.row() for gain in gains)):
        print("| " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
