"""The last 60 minutes of the service, for charts: read every second, kept as one sample for each minute."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from imageserver.dispatch.history.counts import Counts
from imageserver.protocol.messages import DeviceShare, Minute

MAX_MINUTES = 60
MINUTE_SECONDS = 60.0
INTERVAL_SECONDS = 1.0


class Minutes:
    """The finished minutes, and the counts of the one under way."""

    def __init__(self, read: Callable[[], Counts]) -> None:
        """Sample what `read` returns."""
        self._read = read
        self._clock = asyncio.get_running_loop().time
        self._finished: deque[Minute] = deque(maxlen=MAX_MINUTES)
        self._begin(read())

    async def watch(self) -> None:
        """Sample for ever."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            self._sample()

    def all(self) -> tuple[Minute, ...]:
        """Return the last hour, the oldest minute first; the last one may be under way."""
        if self._count == 0:
            return tuple(self._finished)
        return (*self._finished, self._minute())[-MAX_MINUTES:]

    def _begin(self, counts: Counts) -> None:
        self._began, self._count, self._queued, self._running = self._clock(), 0, 0, 0
        self._first = self._last = counts
        self._busy: dict[str, float] = {}

    def _sample(self) -> None:
        counts = self._read()
        self._count += 1
        self._queued += counts.queued
        self._running += counts.running
        for name, seconds in counts.busy.items():
            before = self._last.busy.get(name, 0.0)
            # Those of a machine that has left and joined again begin at nothing.
            grown = seconds - before if seconds >= before else seconds
            self._busy[name] = self._busy.get(name, 0.0) + grown
        self._last = counts
        # A little early, or every minute would be a second longer.
        if self._clock() - self._began >= MINUTE_SECONDS - INTERVAL_SECONDS / 2:
            self._finished.append(self._minute())
            self._begin(counts)

    def _minute(self) -> Minute:
        seconds = self._clock() - self._began
        return Minute(
            ended_at=round(time.time(), 3),
            seconds=round(seconds, 3),
            queued=round(self._queued / self._count, 3),
            running=round(self._running / self._count, 3),
            refused=self._last.refused - self._first.refused,
            devices=tuple(
                DeviceShare(name=name, busy=round(min(1.0, busy / max(seconds, INTERVAL_SECONDS)), 4))
                for name, busy in self._busy.items()
            ),
        )
