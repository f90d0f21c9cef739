"""How large a shared forward may be before the device's memory runs out, learnt from one that failed."""

import time
from collections.abc import Callable

# What others held then may be free by now; to find out costs at most one failed forward.
PROBE_AGAIN_SECONDS = 300.0


class MemoryLimit:
    """The size of the last forward that did not fit, in tokens of its images."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._too_many: int | None = None
        self._probe_again_at = 0.0

    def observe_failure(self, tokens: int) -> None:
        """Learn that a forward of so many tokens does not fit."""
        self._too_many, self._probe_again_at = tokens, self._clock() + PROBE_AGAIN_SECONDS

    def calls(self, tokens: int, most: int) -> int:
        """Return how many calls of so many tokens each fit into a forward, at most `most`."""
        if self._too_many is None or self._clock() >= self._probe_again_at:
            return most
        return max(1, min(most, (self._too_many - 1) // tokens))
