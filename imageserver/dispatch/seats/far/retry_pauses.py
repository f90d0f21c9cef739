"""How long a machine whose engine could not load its model is passed over: longer each time, until one was ready."""

# A model that never fits costs a machine a load no more often than this.
FIRST_PAUSE_SECONDS = 30.0
MAX_PAUSE_SECONDS = 600.0
# After its pause; a machine that has gone for good would be remembered for ever, and another may get its address.
REMEMBERED_SECONDS = 3600.0


class RetryPauses:
    """The pauses by machine; the name is empty where a stand-in ended before it had found one."""

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

    def machines(self, now: float) -> frozenset[str]:
        """Return the machines that are passed over."""
        return frozenset(machine for machine in self._until if machine and not self.is_over(machine, now))

    def forget(self, machine: str) -> None:
        """Use a machine at once, and begin with a short pause again: an engine there has its model."""
        self._next_seconds.pop(machine, None)
        self._until.pop(machine, None)
