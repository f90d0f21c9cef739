"""Models that other machines fetch because an engine elsewhere has them: each machine reads its own disk."""

from collections.abc import Iterator

from imageserver.dispatch.models.downloads import Fetch
from imageserver.dispatch.seats.seat import Seat
from imageserver.dispatch.seats.seat_list import SeatList, one_of_each_host
from imageserver.protocol import messages


class FileCopies:
    """The fetches that nobody waits for: meanwhile the model is used where it is."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers
        self._fetches: dict[int, Fetch] = {}  # by the number of the exchange

    def __bool__(self) -> bool:
        return bool(self._fetches)

    def begin(self, name: str, seats: SeatList) -> None:
        """Let each machine whose engines could not load a model fetch its files, once, where another one has loaded it.

        Otherwise it may be a model that clients may name but not fetch.
        """
        having = {seat.host for seat in seats.holding(name)}
        if not having:
            return
        lacking = [seat for seat in seats if name in seat.models.unloadable and seat.host not in having]
        for seat in one_of_each_host(lacking):
            if name not in seat.models.fetched:
                seat.models.fetched.add(name)
                number = next(self._numbers)
                self._fetches[number] = Fetch(name, seat)
                seat.engine.send(messages.FetchModel(job=number, name=name))

    def end(self, message: messages.ModelFetched, seats: SeatList) -> None:
        """Let a model that has come be loaded by the engines of that machine; any other fetch is ignored."""
        fetch = self._fetches.pop(message.job, None)
        if fetch is not None and message.failure is None:
            for seat in seats:
                if seat.host == fetch.seat.host:
                    seat.models.unloadable.discard(fetch.name)

    def seat_lost(self, seat: Seat) -> None:
        """Forget the fetches of a dead engine."""
        self._fetches = {number: fetch for number, fetch in self._fetches.items() if fetch.seat is not seat}
