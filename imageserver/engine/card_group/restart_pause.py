"""The pause before cards that were lost are started again: none at first, longer each time until they are of use."""

import time

# A first loss costs no pause. A card that is broken for good costs a start of the ranks no more often than this.
FIRST_PAUSE_SECONDS = 10.0
MAX_PAUSE_SECONDS = 600.0


class RestartPause:
    """One pause after the other."""

    def __init__(self) -> None:
        self.ends = 0.0
        self._seconds = 0.0

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.ends

    def begin(self) -> None:
        """Begin a pause, the next one is twice as long."""
        self.ends = time.monotonic() + self._seconds
        self._seconds = min(MAX_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, 2 * self._seconds))

    def skip_next(self) -> None:
        """Let the next pause be none: the cards have computed a forward together."""
        self._seconds = 0.0
