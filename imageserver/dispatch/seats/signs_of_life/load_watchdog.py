"""Decides whether an engine that loads a model makes any progress.

Nobody knows how long a load may take: tens of gigabytes from a slow disk, a compilation. But what loads sends messages,
computes, reads, writes or grows.
"""

from collections.abc import Callable

from imageserver.dispatch.seats.signs_of_life.process_activity import ProcessActivity, activity_of
from imageserver.dispatch.silence import Silence

SAMPLES = 10
# What a process that hangs still consumes, for its threads that wait: less than that between two samples.
IDLE_CPU_SHARE = 0.01
IDLE_BYTES = 64 * 1024


class LoadWatchdog:
    """Measures for how long one engine after the other has made no progress while it loaded."""

    def __init__(
        self, limit: float, clock: Callable[[], float], measure: Callable[[int], ProcessActivity] = activity_of
    ) -> None:
        """Allow `limit` seconds without progress; `measure` returns what a process has consumed so far."""
        self._limit = limit
        self._clock = clock
        self._measure = measure
        self._silence = Silence(clock)
        self._pid = 0
        self._last: ProcessActivity | None = None
        self._measured_at = 0.0

    def begin(self, pid: int) -> None:
        """Begin with a new engine process."""
        self._pid = pid
        self.record_sign()

    def record_sign(self) -> None:
        """Begin to count again: the engine has sent something, or has nothing to load."""
        self._silence.end()
        self._last = None

    def is_stalled(self) -> bool:
        """Return whether the engine has made no progress for too long; to be called every POLL_SECONDS."""
        silent = self._silence.advance()
        if self._last is None or self._clock() - self._measured_at >= self._limit / SAMPLES:
            self._compare()
            silent = self._silence.seconds
        return silent > self._limit

    def _compare(self) -> None:
        """Compare what the process has consumed with the last sample."""
        now, last, interval = self._measure(self._pid), self._last, self._clock() - self._measured_at
        self._last, self._measured_at = now, self._clock()
        if last is None:
            return
        cpu_seconds = abs(now.cpu_seconds - last.cpu_seconds)
        transferred = abs(now.transferred_bytes - last.transferred_bytes)
        # A file that is mapped from FUSE or a network may count neither as read nor as computed: its pages come into
        # memory. Only growth counts: what hangs may be swapped out.
        grown = now.resident_bytes - last.resident_bytes
        if cpu_seconds > IDLE_CPU_SHARE * interval or max(transferred, grown) > IDLE_BYTES:
            self._silence.end()
