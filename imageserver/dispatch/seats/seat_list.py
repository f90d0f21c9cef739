"""All seats of a server, in the order of their devices; seats may come and go."""

from collections.abc import Iterable, Iterator

from imageserver.dispatch.seats.seat import Seat
from imageserver.protocol.messages import DeviceUsage

# As the service's state: accepted requests run now, or as soon as an engine has started for them.
HEALTHY, LOADING, DEGRADED = "healthy", "loading", "degraded"
STARTING_SENTENCE = "The engine process is starting."


class SeatList:
    """The seats, and what they are together."""

    def __init__(self) -> None:
        self._seats: list[Seat] = []

    def __iter__(self) -> Iterator[Seat]:
        return iter(self._seats)

    def __len__(self) -> int:
        return len(self._seats)

    def add(self, seat: Seat) -> None:
        self._seats.append(seat)

    def remove(self, seat: Seat) -> None:
        self._seats.remove(seat)

    @property
    def ready(self) -> list[Seat]:
        """Those whose engines accept jobs and questions."""
        return [seat for seat in self._seats if seat.engine.is_ready]

    @property
    def states(self) -> tuple[str, ...]:
        """The state of every engine."""
        return tuple(seat.engine.state for seat in self._seats)

    @property
    def have_failed(self) -> bool:
        """Whether no engine will come: none is left, and no machine has been asked for."""
        expected = [seat for seat in self._seats if not seat.is_spare]
        return bool(expected) and all(seat.engine.state == "failed" for seat in expected)

    @property
    def are_coming(self) -> bool:
        """Whether an engine is there, or will be."""
        return any(seat.is_coming for seat in self._seats)

    @property
    def is_known(self) -> bool:
        """Whether an engine has its model, or will have it again when a request comes."""
        return any(seat.engine.ready or seat.engine.is_resting for seat in self._seats)

    @property
    def state(self) -> str:
        """The state of the service: that of its best seat."""
        states = {state_of(seat) for seat in self._judged}
        return next((state for state in (HEALTHY, LOADING, DEGRADED) if state in states), LOADING)

    @property
    def leading(self) -> Seat | None:
        """The seat that the service's state is that of."""
        return next((seat for seat in self._judged if state_of(seat) == self.state), None)

    @property
    def reason(self) -> str:
        """Why the state is what it is, in one sentence."""
        return self.leading.engine.reason if self.leading else STARTING_SENTENCE

    @property
    def usage(self) -> DeviceUsage:
        """The work of all devices together."""
        usages = [seat.engine.usage for seat in self._seats]
        # What is known of a group of cards belongs to one seat.
        names = [name for name in DeviceUsage.__struct_fields__ if name != "group"]
        return DeviceUsage(**{name: sum(getattr(usage, name) for usage in usages) for name in names})

    @property
    def _judged(self) -> list[Seat]:
        """Those that say how the service is: one that waits for a machine says so where there is no other."""
        return [seat for seat in self._seats if not seat.is_spare] or self._seats

    def of(self, job: int) -> Seat | None:
        """Return the seat whose engine works on a job."""
        return next((seat for seat in self._seats if job in seat.running), None)

    def holding(self, model: str) -> list[Seat]:
        """Return the ready seats that have a model in memory."""
        return [seat for seat in self.ready if model in seat.models.loaded]


def one_of_each_host(seats: Iterable[Seat]) -> list[Seat]:
    """Return the first of the seats on each machine: what its engine fetches is there for the others."""
    return list({seat.host: seat for seat in reversed(list(seats))}.values())[::-1]


def state_of(seat: Seat) -> str:
    """Return the state of one seat in the service's words."""
    if seat.engine.is_resting or seat.engine.state == "ready":
        return HEALTHY
    return LOADING if seat.engine.state == "loading" else DEGRADED
