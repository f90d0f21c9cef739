"""How long another process has been silent, and for how long it may be.

The dispatcher sends every worker a snapshot, and the engine a ping, more often than HEARTBEAT_SECONDS.
"""

from collections.abc import Callable

HEARTBEAT_SECONDS = 1.0
# The state is `degraded` within 5 s of the last sign of life, and the process replaced within 30 s.
SILENT_SECONDS = 4.0
REPLACE_SECONDS = 25.0
POLL_SECONDS = 0.5


class Silence:
    """Counts the seconds since the last sign of life, but only those in which the counting process ran itself.

    A process that was stopped, or that waited long for a core, would take the others for silent.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Count in seconds of a monotonic clock."""
        self._clock = clock
        self._advanced_at = clock()
        self.seconds = 0.0

    def end(self) -> None:
        """Begin to count again: the other process has given a sign of life."""
        self.seconds, self._advanced_at = 0.0, self._clock()

    def advance(self) -> float:
        """Count the time since the last call; to be called every POLL_SECONDS or more often."""
        now = self._clock()
        self.seconds += min(now - self._advanced_at, 2 * POLL_SECONDS)
        self._advanced_at = now
        return self.seconds
