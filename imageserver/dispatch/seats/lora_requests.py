"""Requests about LoRAs: which seats are asked, and one answer from all of them."""

from imageserver.dispatch.jobs import Listener
from imageserver.dispatch.seats.seat import Seat
from imageserver.dispatch.seats.seat_list import SeatList, one_of_each_host
from imageserver.protocol.messages import Failed, LoraRequest, LorasLoaded, Message


def seats_asked(request: LoraRequest, seats: SeatList) -> list[Seat]:
    """Return the seats that a request goes to; where no engine can answer it, one that says why, if there is any."""
    if request.fetch is None:
        # Where none has the model, the first engine says so.
        return seats.holding(request.model) or seats.ready[:1] or _leading(seats)
    near = [seat for seat in seats if not seat.is_far and seat.is_coming]
    if near and not any(seat.engine.is_ready for seat in near):
        # What only others fetched would not be found here.
        return sorted(near, key=lambda seat: seat.engine.state == "idle")[:1]
    return one_of_each_host(sorted(seats.ready, key=lambda seat: seat.is_far)) or _leading(seats)


def _leading(seats: SeatList) -> list[Seat]:
    return [seats.leading] if seats.leading else []


def ask(request: LoraRequest, seats: list[Seat], listener: Listener) -> None:
    """Let the engines of seats do what a request asks for, and send their answers on as one."""
    answers = LoraAnswers(listener, len(seats))
    for seat in seats:
        if request.fetch is not None:
            seat.engine.wake()  # it may rest here while others work
        decides = request.fetch is not None and not seat.is_far
        seat.ask(request, DecidingAnswer(answers) if decides else answers)


class LoraAnswers:
    """Waits for the answers of `count` engines; what one of them could do counts as done, unless there is a refusal."""

    def __init__(self, listener: Listener, count: int) -> None:
        self._listener = listener
        self._missing = count
        self._names: list[str] = []
        self._answered: LorasLoaded | None = None
        self._failure: Failed | None = None
        self.refusal: Failed | None = None

    def send(self, message: Message, raw: bytes = b"") -> None:
        """Receive the answer of one engine, and send the last one on with the names of all."""
        self._missing -= 1
        if isinstance(message, LorasLoaded):
            self._names += [name for name in message.names if name not in self._names]
            self._answered = LorasLoaded(job=message.job, names=tuple(self._names))
        elif isinstance(message, Failed):
            self._failure = message
        if self._missing == 0 and (answer := self.refusal or self._answered or self._failure):
            self._listener.send(answer)


class DecidingAnswer:
    """The answer of an engine whose failure counts whatever the others could do: it fetches for the front's folder."""

    def __init__(self, answers: LoraAnswers) -> None:
        self._answers = answers

    def send(self, message: Message, raw: bytes = b"") -> None:
        """Receive the answer of that engine."""
        if isinstance(message, Failed):
            self._answers.refusal = message
        self._answers.send(message)
