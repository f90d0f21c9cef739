"""Ends an engine process when nobody has needed it for IDLE_UNLOAD seconds, and starts it for later requests."""

import asyncio
import logging
from collections.abc import Callable

from imageserver.dispatch.seats.seat import Seat
from imageserver.dispatch.seats.seat_list import SeatList

logger = logging.getLogger(__name__)

MAX_POLL_SECONDS = 1.0


class IdleUnload:
    """Knows when each engine was last needed; 0 `seconds` never end one."""

    def __init__(self, seconds: float, seats: SeatList, something_waits: Callable[[], bool]) -> None:
        """`something_waits` tells whether a request waits for any of the seats."""
        self._seconds = seconds
        self._seats = seats
        self._something_waits = something_waits
        self._clock = asyncio.get_running_loop().time
        self._used: dict[Seat, float] = {}
        self.count = 0

    def record_use(self, seat: Seat) -> None:
        """Begin to count again."""
        self._used[seat] = self._clock()

    def forget(self, seat: Seat) -> None:
        """Count no more for a seat that is closed."""
        self._used.pop(seat, None)

    def record_request(self) -> None:
        """Count a request that needs no place in the queue as a use of all seats, and start an engine if none runs."""
        for seat in self._seats:
            self.record_use(seat)
        if not self._seats.ready:
            self.wake()

    def wake(self, waiting: int = 1) -> None:
        """Start resting engines where fewer than `waiting` are there or on their way."""
        lacking = [seat for seat in self._seats if seat.is_waiting_for_machine]
        hoping = [seat for seat in lacking if not seat.is_refused]
        coming = [seat for seat in self._seats if seat.engine.state == "loading" and seat not in lacking]
        resting = [seat for seat in self._seats if seat.engine.state == "idle"]
        near, far = ([seat for seat in resting if seat.is_far == is_far] for is_far in (False, True))
        missing = max(0, waiting - len(coming))
        # A machine that is there for a far one goes to those that wait for one already.
        for seat in near[:missing] + far[: max(0, missing - len(near) - len(hoping))]:
            seat.engine.wake()

    async def watch(self) -> None:
        """End each engine whenever it is due."""
        while self._seconds:
            await asyncio.sleep(min(MAX_POLL_SECONDS, self._seconds / 4))
            waits = self._something_waits()
            for seat in self._seats:
                if not seat.engine.is_ready or seat.is_busy or waits:
                    self.record_use(seat)
                elif self._clock() - self._used.setdefault(seat, self._clock()) >= self._seconds:
                    self._end(seat)

    def _end(self, seat: Seat) -> None:
        self.count += 1
        sentence = f"The engine has ended after {self._seconds:g} s without a request; the next one starts it."
        logger.info("%s", sentence)
        seat.engine.rest(sentence)
