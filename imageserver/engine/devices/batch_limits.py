"""How many images of a size share one forward: measured on this device, kept for the next start."""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

# Returns two calls of a square image of that side, whose texts differ in length.
Probe = Callable[[int], tuple[Any, Any]]
Forward = Callable[..., Any]
Clock = Callable[[], float]


@dataclass(frozen=True)
class SizeLimit:
    """How many images of a size share a forward, and whether two gain by it whose texts differ in length.

    Those need a mask, which takes attention off its fast path.
    """

    cap: int
    mixes_lengths: bool = True


class BatchLimits:
    """The limits by image size; `limit` 0 leaves them as measured, anything else bounds them."""

    def __init__(self, sizes: dict[int, SizeLimit], limit: int) -> None:
        self._sizes = sizes
        self._limit = limit

    def cap_of(self, pixels: int) -> int:
        """Return the most images of `pixels` that share a forward."""
        cap = self._at(pixels).cap
        return min(cap, self._limit) if self._limit else cap

    def mixes_lengths(self, pixels: int) -> bool:
        """Return whether images of `pixels` share a forward where their texts differ in length."""
        return self._at(pixels).mixes_lengths

    def describe(self) -> dict[str, int]:
        """Return the caps for `/info`: `{"up to 262144 pixels": 8}`."""
        return {f"up to {size} pixels": self.cap_of(size) for size in sorted(self._sizes)}

    def _at(self, pixels: int) -> SizeLimit:
        larger = [size for size in self._sizes if size >= pixels]
        return self._sizes[min(larger)] if larger else SizeLimit(1)


def measure(
    forward: Forward, merger: Merger, probe: Probe, max_pixels: int, clock: Clock = time.monotonic
) -> dict[int, SizeLimit]:
    """Return the limit of every probed size."""
    sizes = {}
    for side in PROBED_SIDES:
        if side * side > max_pixels:
            break
        sizes[side * side] = limit = _limit_of(forward, merger, probe(side), clock)
        if limit.cap == 1:
            break  # larger images fill the device even more
    return sizes


def load_or_measure(
    file: Path, fingerprint: str, forward: Forward, merger: Merger, probe: Probe, max_pixels: int, free: int,
    clock: Clock = time.monotonic,
) -> dict[int, SizeLimit]:  # fmt: skip
    """Return the limits measured earlier for the same model on the same device, or measure them now.

    They are measured again where they were measured with much more or less `free` bytes, or while forwards took much
    longer, as beside another busy process.
    """
    measurements = Measurements(file)
    side = PROBED_SIDES[0]
    seconds = seconds_of(forward, probe(side)[0], clock) if side * side <= max_pixels else 0.0
    with contextlib.suppress(ValueError, TypeError, KeyError):
        kept = measurements.find(fingerprint)
        sizes = {int(size): SizeLimit(int(cap), bool(mixes)) for size, (cap, mixes) in dict(kept["sizes"]).items()}
        if kept["free"] / MAX_CHANGE <= free <= kept["free"] * MAX_CHANGE and kept["seconds"] <= seconds * MAX_CHANGE:
            return sizes
        logger.info("The batch limits were measured with other free memory or beside other work.")
    sizes = measure(forward, merger, probe, max_pixels, clock)
    logger.info("Batch limits measured: %s", ", ".join(_sentence(size, limit) for size, limit in sizes.items()))
    kept_sizes = {size: (limit.cap, limit.mixes_lengths) for size, limit in sizes.items()}
    measurements.keep(fingerprint, {"sizes": kept_sizes, "free": free, "seconds": seconds})
    return sizes


def _sentence(size: int, limit: SizeLimit) -> str:
    only = "" if limit.mixes_lengths else ", of texts of one length,"
    return f"{limit.cap}{only} at {size} pixels"


def _limit_of(forward: Forward, merger: Merger, pair: tuple[Any, Any], clock: Clock) -> SizeLimit:
    call = pair[0]
    alone = seconds_of(forward, call, clock)
    best, best_rate = 1, 1 / alone
    for batch in PROBED_BATCHES[1:] if alone <= MAX_FORWARD_SECONDS else ():
        seconds = _seconds_together(forward, merger, [call] * batch, clock)
        if seconds is None or batch / seconds < best_rate * MIN_GAIN:
            break
        best, best_rate = batch, batch / seconds
        if seconds > MAX_FORWARD_SECONDS:
            break
    if best == 1 or not _needs_mask(merger, *pair):
        return SizeLimit(best)
    masked = _seconds_together(forward, merger, pair, clock)
    return SizeLimit(best, masked is not None and 2 / masked >= MIN_GAIN / alone)


def _needs_mask(merger: Merger, one: Any, other: Any) -> bool:
    """Return whether two calls of a size may share a forward, though their texts differ in length."""
    return merger.shape_of(one) == merger.shape_of(other) and merger.text_length(one) != merger.text_length(other)


def _seconds_together(forward: Forward, merger: Merger, calls: Sequence[Any], clock: Clock) -> float | None:
    """Return the seconds of one forward for all calls; None where the memory does not hold it."""
    try:
        return seconds_of(forward, merger.merge(calls), clock)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None


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
