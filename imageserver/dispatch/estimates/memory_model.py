"""Predict how much device memory a generation needs and whether it fits, learning from earlier ones."""

import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from imageserver.dispatch.estimates.cost_model import MAX_SIZES
from imageserver.generation import Generation, ModelInfo

# Of each size the highest of so many peaks counts; they include what ran beside it.
MAX_PEAKS = 10
# Afterwards it is tried again: another process may have left the device.
FAILURE_SECONDS = 600.0


@dataclass(frozen=True)
class FailedSize:
    """An image that did not fit although nothing else ran."""

    pixels: int
    moment: float
    loaded: tuple[str, ...]


class MemoryModel:
    """Peaks in MiB, weights included, by model and size."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._peaks: dict[str, OrderedDict[int, deque[float]]] = defaultdict(OrderedDict)
        self._largest: dict[str, int] = defaultdict(int)
        self._failures: dict[str, FailedSize] = {}

    def observe(self, info: ModelInfo, generation: Generation, peak_mb: float) -> None:
        """Learn from a finished generation; a peak of 0 was not measured."""
        if peak_mb > 0:
            sizes = self._peaks[info.name]
            sizes.setdefault(_pixels(generation), deque(maxlen=MAX_PEAKS)).append(peak_mb)
            sizes.move_to_end(_pixels(generation))
            if len(sizes) > MAX_SIZES:
                sizes.popitem(last=False)
        self._largest[info.name] = max(self._largest[info.name], _pixels(generation))
        failure = self._failures.get(info.name)
        if failure is not None and _pixels(generation) >= failure.pixels:
            del self._failures[info.name]

    def observe_failure(self, info: ModelInfo, generation: Generation, loaded: tuple[str, ...]) -> None:
        """Learn from a generation that ran alone and did not fit, while the models `loaded` were there.

        A single image may fit where several did not, and a size that was generated before may fit again.
        """
        if generation.count > 1 or _pixels(generation) <= self._largest[info.name]:
            return
        known = self._failures.get(info.name)
        smallest = min(_pixels(generation), known.pixels) if known else _pixels(generation)
        self._failures[info.name] = FailedSize(smallest, self._clock(), loaded)

    def obstacle(self, info: ModelInfo, generation: Generation, loaded: tuple[str, ...]) -> str | None:
        """Return why the device cannot hold a generation, and the largest it can; None if nothing rules it out."""
        failure = self._failures.get(info.name)
        if failure is None or _pixels(generation) < failure.pixels:
            return None
        if failure.loaded != loaded or self._clock() - failure.moment > FAILURE_SECONDS:
            del self._failures[info.name]
            return None
        largest = self._largest[info.name]
        peaks = self._peaks[info.name].get(largest)
        advice = f"One of {largest} pixels was generated; ask for no more." if largest else "Ask for a smaller one."
        if peaks:
            advice = (
                f"One of {largest} pixels was generated, with {max(peaks) / 1024:.1f} GiB at its peak; ask for no more."
            )
        return (
            f"An image of {failure.pixels} pixels did not fit into the device's memory a short while ago, so one of "
            f"{generation.width}x{generation.height} is not tried. {advice}"
        )

    def expected(self, info: ModelInfo, generation: Generation) -> float | None:
        """Return the expected peak, None before anything was measured.

        For a size not seen yet, the use of the nearest size, without the model, is scaled by the pixels.
        """
        sizes, pixels = self._peaks.get(info.name), _pixels(generation)
        if not sizes:
            return None
        nearest = min(sizes, key=lambda size: abs(size - pixels))
        beside = max(0.0, max(sizes[nearest]) - info.device.memory_mb)
        return round(min(info.device.memory_mb, max(sizes[nearest])) + beside * pixels / nearest, 1)


def _pixels(generation: Generation) -> int:
    return generation.forward_pixels
