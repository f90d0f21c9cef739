"""Models that clients unload: from every seat that has them."""

from collections.abc import Iterator
from dataclasses import dataclass

from imageserver.dispatch.jobs import Listener
from imageserver.dispatch.seats.seat import Seat
from imageserver.protocol import messages


@dataclass
class UnloadRequest:
    """A client that waits until every seat in `numbers`, by the number of the exchange, has answered."""

    request: messages.ModelRequest
    listener: Listener
    numbers: set[int]
    failure: messages.Failed | None = None


class Unloading:
    """Knows who waits for which answers of the seats."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers
        self._requests: list[UnloadRequest] = []

    def __bool__(self) -> bool:
        return bool(self._requests)

    def begin(self, request: messages.ModelRequest, listener: Listener, seats: list[Seat]) -> None:
        """Free the memory of a model on these seats."""
        numbers = {next(self._numbers): seat for seat in seats}
        self._requests.append(UnloadRequest(request, listener, set(numbers)))
        for number, seat in numbers.items():
            seat.models.unload(number, request.unload)

    def answer(self, number: int, failure: messages.Failed | None) -> UnloadRequest | None:
        """Record a seat's answer; return the request that this was the last one for, with its first failure."""
        unload = next((unload for unload in self._requests if number in unload.numbers), None)
        if unload is None:
            return None
        unload.numbers.discard(number)
        unload.failure = unload.failure or failure
        if unload.numbers:
            return None
        self._requests.remove(unload)
        return unload
