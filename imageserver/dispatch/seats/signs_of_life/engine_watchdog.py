"""Decides from the signs of life of an engine whether it is silent, and whether it has been so for too long."""

import statistics
from collections import deque
from collections.abc import Callable
from typing import Literal

from imageserver.dispatch.silence import POLL_SECONDS, REPLACE_SECONDS, SILENT_SECONDS, Silence

MAX_SILENT_STEPS = 20

Finding = Literal["alive", "silent", "dead"]


class EngineWatchdog:
    """Measures the silence of one engine after the other, and the pace of their steps."""

    def __init__(self, step_timeout: float, clock: Callable[[], float]) -> None:
        """Allow a silence of `step_timeout` seconds, or of MAX_SILENT_STEPS usual steps, while the engine works."""
        self._step_timeout = step_timeout
        self._clock = clock
        self._silence = Silence(clock)
        self._last_steps: dict[int, float] = {}
        self._step_times: deque[float] = deque(maxlen=100)
        self.interval = min(POLL_SECONDS, step_timeout / 4)

    @property
    def silent_seconds(self) -> float:
        return self._silence.seconds

    def begin(self) -> None:
        """Begin with a new engine."""
        self._last_steps.clear()
        self._silence.end()

    def record_sign(self) -> None:
        self._silence.end()

    def record_step(self, job: int) -> None:
        """Measure the pace by a job's own steps: those of its neighbours in one forward are reported in a burst."""
        now = self._clock()
        if job in self._last_steps:
            self._step_times.append(now - self._last_steps[job])
        self._last_steps[job] = now

    def forget(self, job: int) -> None:
        self._last_steps.pop(job, None)

    def check(self, *, works: bool) -> Finding:
        """Return the state of an engine that has work, or of an idle one, which answers every ping at once."""
        silence = self._silence.advance()
        if works:
            limit = self._step_timeout
            if self._step_times:
                limit = max(limit, MAX_SILENT_STEPS * statistics.median(self._step_times))
            return "dead" if silence > limit else "alive"
        if silence > min(REPLACE_SECONDS, self._step_timeout):
            return "dead"
        return "silent" if silence > SILENT_SECONDS else "alive"
