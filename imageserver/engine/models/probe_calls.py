"""Denoiser calls to measure, compile and capture with: those of square images that no client has asked for."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from imageserver.engine.devices.batch_limits import PROBED_BATCHES, PROBED_SIDES, BatchLimits
from imageserver.engine.pipelines.merger import Merger
from imageserver.engine.pipelines.suspension import Track, TrackCancelled
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.generation import Generation

# Every family's sides are multiples of a divisor of this.
SIDE_STEP = 64
LONG_PROMPT = ", ".join(["a red circle on a blue background"] * 8)


def probe_call(runner: PipelineRunner, side: int) -> Mapping[str, Any]:
    """Return the arguments of the first denoiser call of a square image; the pipeline is unwound again."""
    with suspended_call(runner, side) as arguments:
        return arguments


@contextlib.contextmanager
def suspended_call(runner: PipelineRunner, side: int, prompt: str = "a red circle") -> Iterator[Mapping[str, Any]]:
    """Suspend a square image at its first denoiser call and yield the arguments; then unwind its pipeline."""
    generation = Generation(
        prompt=prompt, negative_prompt=" ", width=side, height=side, steps=2, true_cfg_scale=4.0, seed=0
    )
    generation, source = runner.warmup_generation(generation)
    track = Track(0, 0, lambda: runner.run(generation, 0, lambda look: None, source))
    track.begin()
    assert track.waiting is not None
    yield track.waiting.arguments
    track.abort(TrackCancelled())


def probe_pair(runner: PipelineRunner, side: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return two calls of a square image whose texts differ in length."""
    with suspended_call(runner, side, LONG_PROMPT) as longer:
        return probe_call(runner, side), longer


def rehearsed_calls(runner: PipelineRunner, max_pixels: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return two calls of one size whose texts differ in length."""
    return probe_pair(runner, min(512, int(max_pixels**0.5)))


def largest_call(runner: PipelineRunner, max_pixels: int) -> Mapping[str, Any]:
    """Return the largest call of one image: MAX_PIXELS, and a long text."""
    side = math.isqrt(max_pixels)
    with suspended_call(runner, side - side % SIDE_STEP, LONG_PROMPT) as call:
        return call


def probed_calls(
    runner: PipelineRunner, merger: Merger | None, caps: BatchLimits, max_pixels: int
) -> Iterator[Mapping[str, Any]]:
    """Yield the calls whose forwards are captured at the start: every probed size and batch.

    Other texts than the one here have other lengths; but that of the empty negative prompt comes with every image.
    """
    for side in (side for side in PROBED_SIDES if side * side <= max_pixels):
        call = probe_call(runner, side)
        yield call
        with suspended_call(runner, side, " ") as negative:
            yield negative
        if merger is not None:
            yield from (merger.merge([call] * size) for size in PROBED_BATCHES if 1 < size <= caps.cap_of(side * side))
