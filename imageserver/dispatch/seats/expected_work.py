"""Keeps the expected work of the jobs at what was learnt last."""

import asyncio
from collections.abc import Hashable

from imageserver.dispatch.estimates.cost_model import cost_key
from imageserver.dispatch.queue import JobQueue
from imageserver.dispatch.seats.estimator import Estimator
from imageserver.dispatch.seats.seat_list import SeatList
from imageserver.generation import Generation

# A thousand jobs take longer than a decision may: 2 ms.
MAX_AT_ONCE = 64
INTERVAL_SECONDS = 0.2


class ExpectedWork:
    """Estimates the jobs that wait and run again, whenever one has ended; where many wait, once for several ends."""

    def __init__(self, waiting: JobQueue, seats: SeatList, estimator: Estimator) -> None:
        self._waiting = waiting
        self._seats = seats
        self._estimator = estimator
        self._is_due = False

    def update_soon(self) -> None:
        """Expect of every job what is known now, or a little later."""
        if len(self._waiting) <= MAX_AT_ONCE:
            self._update()
        elif not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._update)

    def _update(self) -> None:
        self._is_due = False
        found: dict[Hashable, float] = {}

        def seconds(generation: Generation) -> float:
            key = cost_key(generation)
            if key not in found:
                found[key] = self._estimator.costs.seconds(generation)
            return found[key]

        self._waiting.estimate(seconds)
        for seat in self._seats:
            for job in seat.running.values():
                job.work = self._estimator.seconds(seat, job.generation)
