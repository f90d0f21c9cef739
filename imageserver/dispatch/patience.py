"""How long requests wait where all engines have failed, and one may come all the same."""

import asyncio
import math
from collections.abc import Callable

from imageserver.dispatch.seats.seat import PATIENCE_SECONDS
from imageserver.dispatch.seats.seat_list import SeatList

CHECK_SECONDS = 1.0


class Patience:
    """Knows since when no engine has been on its way."""

    def __init__(self, seats: SeatList) -> None:
        self._seats = seats
        self._loop = asyncio.get_running_loop()
        self._failed_since: float | None = None
        self._check: asyncio.TimerHandle | None = None

    @property
    def is_tried(self) -> bool:
        """Whether all engines have failed, as things stand."""
        if not self._seats.have_failed:
            self._failed_since = None
            return False
        self._failed_since = self._failed_since or self._loop.time()
        return True

    @property
    def refused_until(self) -> float:
        """The moment up to which requests must have come to be refused now; infinite for all, minus infinite for none.

        While a failed engine is just being tried again, or soon will be, none is; a machine that was asked for may
        never come.
        """
        if self._seats.are_hopeless:
            return math.inf
        if self._failed_since is None or self._seats.are_retried:
            return -math.inf
        latest = self._loop.time() - PATIENCE_SECONDS
        return latest if self._failed_since <= latest else -math.inf

    def check_later(self, check: Callable[[], None]) -> None:
        """Call `check` a little later, once however often this is asked for."""
        if self._check is None:
            self._check = self._loop.call_later(CHECK_SECONDS, self._run, check)

    def _run(self, check: Callable[[], None]) -> None:
        self._check = None
        check()
