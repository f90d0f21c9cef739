"""How long the load of a seat's model still takes, by how far it has come since it began."""

import asyncio
from dataclasses import dataclass

# A first report measures nothing: much of a download may have been on the disk already.
MIN_FRACTION = 0.001
MAX_SECONDS = 3600.0


@dataclass(frozen=True)
class PhaseStart:
    """A phase of a load, and the moment and fraction at which it was first seen."""

    phase: str
    moment: float
    fraction: float


class LoadPace:
    """Follows one phase after another: a download, then the reading of the weights."""

    def __init__(self) -> None:
        self._start: PhaseStart | None = None
        self._fraction = 0.0

    def observe(self, phase: str, fraction: float | None) -> None:
        """Record how far a phase has come; None where that is not known, as while a hub is asked again."""
        if self._start is not None and phase != self._start.phase:
            self._start = None
        if fraction is None:
            return
        if self._start is None or fraction < self._start.fraction:
            self._start = PhaseStart(phase, asyncio.get_running_loop().time(), fraction)
        self._fraction = fraction

    @property
    def seconds_left(self) -> float | None:
        """The seconds until this phase is over, an hour at most; None while its pace is unknown."""
        if self._start is None or self._fraction - self._start.fraction < MIN_FRACTION:
            return None
        elapsed = asyncio.get_running_loop().time() - self._start.moment
        seconds = elapsed * (1 - self._fraction) / (self._fraction - self._start.fraction)
        return min(seconds, MAX_SECONDS)
