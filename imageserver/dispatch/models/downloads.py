"""Models that are downloaded: one engine fetches their files for all seats."""

from collections.abc import Iterator
from dataclasses import dataclass

from imageserver.dispatch.seats.seat import Seat
from imageserver.protocol import messages

# At a time; more would only share the line.
MAX_FETCHES = 4


@dataclass(frozen=True)
class Fetch:
    """A model, and the seat whose engine fetches its files."""

    name: str
    seat: Seat


class Downloads:
    """The downloads that are under way."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers
        self._fetches: dict[int, Fetch] = {}  # by the number of the exchange
        # How far the download is that came further last, while there is one.
        self.progress: messages.LoadProgress | None = None

    def __contains__(self, name: str) -> bool:
        return any(fetch.name == name for fetch in self._fetches.values())

    def __bool__(self) -> bool:
        return bool(self._fetches)

    def begin(self, name: str, seat: Seat) -> bool:
        """Let an engine fetch a model's files; return False where it has to wait for other downloads."""
        if name not in self:
            if len(self._fetches) >= MAX_FETCHES:
                return False
            number = next(self._numbers)
            self._fetches[number] = Fetch(name, seat)
            seat.engine.send(messages.FetchModel(job=number, name=name))
        return True

    def advance(self, message: messages.LoadProgress) -> str | None:
        """Record how far a download has come; return its model, None where the message is about something else."""
        if message.job not in self._fetches:
            return None
        self.progress = message
        return self._fetches[message.job].name

    def end(self, number: int) -> str:
        """Forget a download that has ended, and return its model."""
        fetch = self._fetches.pop(number, None)
        self._drop_progress()
        return fetch.name if fetch else ""

    def seat_lost(self, seat: Seat) -> None:
        """Forget the downloads of a dead engine."""
        self._fetches = {number: fetch for number, fetch in self._fetches.items() if fetch.seat is not seat}
        self._drop_progress()

    def _drop_progress(self) -> None:
        if self.progress is not None and self.progress.job not in self._fetches:
            self.progress = None
