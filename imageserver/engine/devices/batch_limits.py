"""How many images of a size share one forward: measured on this device, kept for the next start."""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from imageserver.engine.device_errors import is_out_of_memory
from imageserver.engine.devices.measurement_cache import Measurements
from imageserver.engine.pipelines.merger import Merger

logger = logging.getLogger(__name__)

# Side lengths that are measured; other sizes have the cap of the next larger one.
PROBED_SIDES = (512, 768, 1024)
PROBED_BATCHES = (1, 2, 4, 8, 16)
# A larger batch must generate at least this much more per second, or its latency is not worth it.
MIN_GAIN = 1.05
# A device this slow gains nothing, and would make the start long.
MAX_FORWARD_SECONDS = 3.0
REPEATS = 3
# Kept caps hold until free memory, or the seconds of a forward, differ by more than this factor.
MAX_CHANGE = 2.0

Probe = Callable[[int], Any]
Forward = Callable[..., Any]
Clock = Callable[[], float]


class BatchLimits:
    """The caps by image size; `limit` 0 leaves them as measured, anything else bounds them."""

    def __init__(self, caps: dict[int, int], limit: int) -> None:
        self._caps = caps
        self._limit = limit

    def cap_of(self, pixels: int) -> int:
        """Return the most images of `pixels` that share a forward."""
        larger = [size for size in self._caps if size >= pixels]
        cap = self._caps[min(larger)] if larger else 1
        return min(cap, self._limit) if self._limit else cap

    def describe(self) -> dict[str, int]:
        """Return the caps for `/info`: `{"up to 262144 pixels": 8}`."""
        return {f"up to {size} pixels": self.cap_of(size) for size in sorted(self._caps)}


def measure(
    forward: Forward, merger: Merger, probe: Probe, max_pixels: int, clock: Clock = time.monotonic
) -> dict[int, int]:
    """Return the cap of every probed size; `probe(side)` gives the arguments of one call of a square image."""
    caps = {}
    for side in PROBED_SIDES:
        if side * side > max_pixels:
            break
        caps[side * side] = cap = _best_batch(forward, merger, probe(side), clock)
        if cap == 1:
            break  # larger images fill the device even more
    return caps


def load_or_measure(
    file: Path, fingerprint: str, forward: Forward, merger: Merger, probe: Probe, max_pixels: int, free: int,
    clock: Clock = time.monotonic,
) -> dict[int, int]:  # fmt: skip
    """Return the caps measured earlier for the same model on the same device, or measure them now.

    They are measured again where they were measured with much more or less `free` bytes, or while forwards took much
    longer, as beside another busy process.
    """
    measurements = Measurements(file)
    side = PROBED_SIDES[0]
    seconds = seconds_of(forward, probe(side), clock) if side * side <= max_pixels else 0.0
    with contextlib.suppress(ValueError, TypeError, KeyError):
        kept = measurements.find(fingerprint)
        caps = {int(size): int(cap) for size, cap in dict(kept["caps"]).items()}
        if kept["free"] / MAX_CHANGE <= free <= kept["free"] * MAX_CHANGE and kept["seconds"] <= seconds * MAX_CHANGE:
            return caps
        logger.info("The batch limits were measured with other free memory or beside other work.")
    caps = measure(forward, merger, probe, max_pixels, clock)
    logger.info("Batch limits measured: %s", ", ".join(f"{cap} at {size} pixels" for size, cap in caps.items()))
    measurements.keep(fingerprint, {"caps": caps, "free": free, "seconds": seconds})
    return caps


def _best_batch(forward: Forward, merger: Merger, call: Any, clock: Clock) -> int:
    best, best_rate = 1, 0.0
    for batch in PROBED_BATCHES:
        calls: Sequence[Any] = [call] * batch
        try:
            seconds = seconds_of(forward, calls[0] if batch == 1 else merger.merge(calls), clock)
        except RuntimeError as error:
            if batch == 1 or not is_out_of_memory(error):
                raise
            break
        rate = batch / seconds
        if rate < best_rate * MIN_GAIN:
            break
        best, best_rate = batch, rate
        if seconds > MAX_FORWARD_SECONDS:
            break
    return best


def seconds_of(forward: Forward, arguments: Any, clock: Clock = time.monotonic) -> float:
    """Return the shortest of a few timings: noise only adds to them."""
    timings = []
    for _ in range(REPEATS):
        began = clock()
        forward(**arguments)
        timings.append(clock() - began)
        if timings[-1] > MAX_FORWARD_SECONDS:
            break
    return min(timings)
