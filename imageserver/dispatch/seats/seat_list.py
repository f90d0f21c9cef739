"""All seats of a server, in the order of their devices; seats may come and go."""

from collections.abc import Iterable, Iterator

from imageserver.dispatch.seats.engines.usage_total import added, counts_of
from imageserver.dispatch.seats.seat import Seat
from imageserver.protocol.messages import DeviceUsage

# As the service's state: accepted requests run now, or as soon as an engine has started for them.
HEALTHY, LOADING, DEGRADED = "healthy", "loading", "degraded"
STARTING_SENTENCE = "The engine process is starting."


class SeatList:
    """The seats, and what they are together."""

    def __init__(self, *, awaits_machines: bool = False) -> None:
        """Requests wait for a machine that is asked for instead of a failed one if it `awaits_machines`."""
        self._awaits_machines = awaits_machines
        self._seats: list[Seat] = []
        # Of seats that are gone: a counter that falls looks like a server that was started again.
        self._gone_usage, self._gone_restarts = DeviceUsage(), 0

    def __iter__(self) -> Iterator[Seat]:
        return iter(self._seats)

    def __len__(self) -> int:
        return len(self._seats)

    def add(self, seat: Seat) -> None:
        self._seats.append(seat)

    def remove(self, seat: Seat) -> None:
        self._seats.remove(seat)
        self._gone_usage = added(counts_of(seat.engine.usage.total), self._gone_usage)
        self._gone_restarts += seat.engine.restarts

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
        """Whether no engine is left, no machine is on its way, and none is asked for by those who wait."""
        have_failed = bool(self._expected) and all(seat.has_failed for seat in self._expected)
        # A seat on another machine stays where no other one may be asked for.
        return have_failed and not (self._awaits_machines and not any(seat.is_far for seat in self._staying))

    @property
    def are_hopeless(self) -> bool:
        """Whether all have failed, and none of those that may come is expected within the patience of a request."""
        return self.have_failed and not (self.are_retried or any(seat.may_find_machine for seat in self._staying))

    @property
    def are_retried(self) -> bool:
        """Whether a machine whose engine has failed is tried again soon, or is just being looked for."""
        return any(seat.is_retried for seat in self._staying)

    @property
    def retry_after(self) -> float | None:
        """The seconds after which a request that needs an engine may come again; None where that would be in vain."""
        pauses = (seat.retry_after for seat in self._staying)
        return min((pause for pause in pauses if pause is not None), default=None)

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
        """The work of all devices together, those included that are gone."""
        usages = [self._gone_usage, *(seat.engine.usage.total for seat in self._seats)]
        # What is known of a group of cards belongs to one seat.
        names = [name for name in DeviceUsage.__struct_fields__ if name != "group"]
        return DeviceUsage(**{name: sum(getattr(usage, name) for usage in usages) for name in names})

    @property
    def engine_restarts(self) -> int:
        return self._gone_restarts + sum(seat.engine.restarts for seat in self._seats)

    @property
    def _expected(self) -> list[Seat]:
        """Those without the ones that are closed, or wait for a machine which may never come.

        A refusal says nothing of the machine that another one looks for.
        """
        staying = self._staying
        is_open = any(seat.may_find_machine for seat in staying)
        return [seat for seat in staying if (not is_open if seat.is_refused else not self._may_wait_for_ever(seat))]

    @property
    def _staying(self) -> list[Seat]:
        return [seat for seat in self._seats if not seat.is_closing]

    def _may_wait_for_ever(self, seat: Seat) -> bool:
        return seat.is_spare if self._awaits_machines else seat.is_searching

    @property
    def _judged(self) -> list[Seat]:
        """Those that say how the service is: one that waits for a machine says so where there is no other."""
        return self._expected or self._seats

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
    if seat.has_failed:
        return DEGRADED
    if seat.engine.is_resting or seat.engine.state == "ready":
        return HEALTHY
    return LOADING if seat.engine.state == "loading" else DEGRADED
