"""Pauses after engines that could not load their model: longer each time, until one was ready."""

# A model that never fits costs a machine a load no more often than this.
FIRST_PAUSE_SECONDS = 30.0
MAX_PAUSE_SECONDS = 600.0
# After its pause; a machine that has gone for good would be remembered for ever, and another may get its address.
REMEMBERED_SECONDS = 3600.0


class RetryPauses:
    """How long each machine is passed over; its name is empty where a stand-in ended before it had found one."""

    def __init__(self) -> None:
        self._next_seconds: dict[str, float] = {}
        self._until: dict[str, float] = {}

    def begin(self, machine: str, now: float) -> None:
        """Pass a machine over from now on; the next time it is twice as long, unless that is much later."""
        for old in [each for each, until in self._until.items() if now >= until + REMEMBERED_SECONDS]:
            self.forget(old)
        seconds = self._next_seconds.get(machine, FIRST_PAUSE_SECONDS)
        self._until[machine] = now + seconds
        if machine:  # else nothing was learnt of any machine
            self._next_seconds[machine] = min(MAX_PAUSE_SECONDS, 2 * seconds)

    def is_over(self, machine: str, now: float) -> bool:
        """Return whether a machine may be tried again."""
        return now >= self._until.get(machine, now)

    def end(self, machine: str) -> float | None:
        """Return when a machine may be tried again, None where that is not known."""
        return self._until.get(machine) if machine else None

    def last_end(self, now: float) -> float | None:
        """Return when a machine could be tried again last, None where none was passed over."""
        return max((until for machine, until in self._until.items() if machine and until <= now), default=None)

    def machines(self, now: float) -> frozenset[str]:
        """Return the machines that are passed over."""
        return frozenset(machine for machine in self._until if machine and not self.is_over(machine, now))

    def forget(self, machine: str) -> None:
        """Use a machine at once, and begin with a short pause again: an engine there has its model."""
        self._next_seconds.pop(machine, None)
        self._until.pop(machine, None)


class AskingPause:
    """How long no machine is asked for once as many in a row as there may be have failed.

    The next one would be like them, and each may be paid for long after it was given back.
    """

    def __init__(self, limit: int) -> None:
        """`limit` is how many machines there may be."""
        self._limit = limit
        self._failed: dict[str, float] = {}
        self._next_seconds = FIRST_PAUSE_SECONDS
        # From when machines may be asked for again, None where that was never stopped.
        self.end: float | None = None

    def record_failure(self, machine: str, now: float) -> None:
        """Record that the engine of a machine that was asked for has failed; its name is empty where none was found."""
        self._failed = {each: when for each, when in self._failed.items() if now < when + REMEMBERED_SECONDS}
        if not self._failed:
            self._next_seconds = FIRST_PAUSE_SECONDS
        if machine:
            self._failed[machine] = now
        if len(self._failed) >= self._limit and self.is_over(now):
            self.end = now + self._next_seconds
            self._next_seconds = min(MAX_PAUSE_SECONDS, 2 * self._next_seconds)

    def forget(self) -> None:
        """Ask at once: a machine was good."""
        self._failed.clear()
        self.end = None

    def is_over(self, now: float) -> bool:
        """Return whether machines may be asked for."""
        return self.end is None or now >= self.end
