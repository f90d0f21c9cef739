"""How much memory a generation will have the device hold, learnt from the ones before it."""

from collections import defaultdict, deque

from imageserver.generation import Generation, ModelFacts

# Of each size the highest of so many peaks counts; they include what ran beside it.
REMEMBERED_PEAKS = 10


class MemoryModel:
    """Peaks in MiB, weights included, by model and size."""

    def __init__(self) -> None:
        self._peaks: dict[str, dict[int, deque[float]]] = defaultdict(dict)

    def observe(self, facts: ModelFacts, generation: Generation, peak_mb: float) -> None:
        """Learn from a finished generation; a peak of 0 was not measured."""
        if peak_mb > 0:
            sizes = self._peaks[facts.name]
            sizes.setdefault(_pixels(generation), deque(maxlen=REMEMBERED_PEAKS)).append(peak_mb)

    def expected(self, facts: ModelFacts, generation: Generation) -> float | None:
        """Return the expected peak, None before anything was measured.

        Of a size not seen yet, what the nearest one took beside the model is scaled by the pixels.
        """
        sizes, pixels = self._peaks.get(facts.name), _pixels(generation)
        if not sizes:
            return None
        nearest = min(sizes, key=lambda size: abs(size - pixels))
        beside = max(0.0, max(sizes[nearest]) - facts.memory_mb)
        return round(min(facts.memory_mb, max(sizes[nearest])) + beside * pixels / nearest, 1)


def _pixels(generation: Generation) -> int:
    return generation.width * generation.height
