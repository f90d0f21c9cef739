"""How large a model's blocks' part of a forward is along the schedule: measured once, kept for the next start."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from diffusers.hooks.mag_cache import MagCacheConfig, MagCacheHeadHook

from imageserver.engine.caching.backend import time_of
from imageserver.engine.caching.hooks import hooks_on
from imageserver.engine.devices.batch_limits import Forward
from imageserver.engine.devices.measurement_cache import Measurements
from imageserver.engine.pipelines.suspension import SetContext, Track, TrackCancelled
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.generation import Generation

# One image is enough: the ratios of three images of the demo model differed by 0.04 at most.
STEPS = 20
SIDE = 512


@dataclass(frozen=True)
class Calibration:
    """Relative sizes of the residual at falling `times` of the schedule, from 1 (noise) to 0 (image)."""

    times: tuple[float, ...]
    sizes: tuple[float, ...]

    def ratio(self, before: float, now: float) -> float:
        """Return the size at one time over that at an earlier one."""
        earlier, later = np.interp([before, now], self.times[::-1], self.sizes[::-1])
        return float(later / earlier)


def load_or_measure(file: Path, fingerprint: str, measure: Callable[[], Calibration]) -> Calibration:
    """Return the model's earlier measurements, or measure now."""
    measurements = Measurements(file)
    with contextlib.suppress(ValueError, TypeError):
        times, sizes = zip(*measurements.find(fingerprint), strict=True)
        return Calibration(tuple(map(float, times)), tuple(map(float, sizes)))
    measured = measure()
    measurements.keep(fingerprint, list(zip(measured.times, measured.sizes, strict=True)))
    return measured


def measure(transformer: Any, set_context: SetContext, forward: Forward, runner: PipelineRunner) -> Calibration:
    """Generate one image exactly, and return the magnitudes that diffusers' calibration measures."""
    # One step more than are generated: at the last one diffusers would print the ratios and forget them.
    transformer.enable_cache(MagCacheConfig(calibrate=True, num_inference_steps=STEPS + 1))
    try:
        times, ratios = _generate(transformer, set_context, forward, runner)
    finally:
        transformer.disable_cache()
    return Calibration(tuple(times), tuple(float(size) for size in np.cumprod(ratios)))


def _generate(
    transformer: Any, set_context: SetContext, forward: Forward, runner: PipelineRunner
) -> tuple[Sequence[float], Sequence[float]]:
    [head] = hooks_on(transformer, (MagCacheHeadHook,))
    wanted = Generation(
        prompt="a red circle", negative_prompt="", width=SIDE, height=SIDE, steps=STEPS, true_cfg_scale=1.0, seed=0
    )
    wanted, source = runner.warmup_generation(wanted)
    track = Track(0, 0, lambda: runner.run(wanted, 0, lambda look: None, source))
    times: list[float] = []
    track.begin()
    while track.waiting is not None:
        arguments = track.waiting.arguments
        with set_context("calibration"):
            output = forward(**arguments)
            ratios = list(head.state_manager.get_state().calibration_ratios)
        times.append(time_of(arguments))
        if len(times) == STEPS:
            track.abort(TrackCancelled())  # only the measurement is needed
        else:
            track.resume(output)
    return times, ratios
