"""How much of an engine's memory the jobs take that it was given."""

from imageserver.generation import Generation

MEASURED_PIXELS = 1024 * 1024


class MemoryShare:
    """Counts the images that an engine works on, each by its size."""

    def __init__(self) -> None:
        self._shares: dict[int, float] = {}

    def __bool__(self) -> bool:
        return bool(self._shares)

    @property
    def images(self) -> float:
        """How many images of 1024 x 1024, by which `max_in_flight` is measured, all jobs weigh."""
        return sum(self._shares.values())

    def add(self, job: int, generation: Generation) -> None:
        """Count a job; smaller images, and captions, weigh as one of that size: text and bookkeeping stay the same."""
        self._shares[job] = max(1, generation.count) * max(1.0, generation.forward_pixels / MEASURED_PIXELS)

    def remove(self, job: int) -> None:
        self._shares.pop(job, None)

    def clear(self) -> None:
        self._shares.clear()
