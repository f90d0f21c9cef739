"""What the engines of one seat have done together: the counts of each begin at nothing."""

from msgspec.structs import asdict, replace

from imageserver.protocol.messages import DeviceUsage

# The others say what is, and end with the engine.
COUNTS = ("busy", "idle", "forwards", "calls", "lookahead_hits", "lookahead_misses", "recompilations")


class UsageTotal:
    """Adds the counts of engines that have ended to those of the one that runs."""

    def __init__(self) -> None:
        self._ended = DeviceUsage()
        self.total = DeviceUsage()

    def begin_engine(self) -> None:
        """Expect the counts of a new engine."""
        self.total = self._ended = counts_of(self.total)

    def observe(self, usage: DeviceUsage) -> None:
        self.total = added(usage, self._ended)


def counts_of(usage: DeviceUsage) -> DeviceUsage:
    """Return what was counted, without what ends with the engine."""
    return DeviceUsage(**{name: value for name, value in asdict(usage).items() if name in COUNTS})


def added(usage: DeviceUsage, ended: DeviceUsage) -> DeviceUsage:
    """Return a device's usage with the counts of engines that have ended."""
    return replace(usage, **{name: getattr(usage, name) + getattr(ended, name) for name in COUNTS})
