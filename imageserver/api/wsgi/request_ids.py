"""Request ids: integers, unique across workers and restarts.

The state database is the one counter that all workers of all starts can share, safe under kill -9. A worker reserves
blocks of it. When they are used up and no other can be reserved, ids come from the clock: a full disk stops no request.
"""

import logging
import os
import time
from collections import deque
from pathlib import Path

from imageserver.errors import StorageFull
from imageserver.outputs.state import StateDatabase

logger = logging.getLogger(__name__)

BLOCK = 100
# The ids of a millisecond, one for each worker. JavaScript counts them exactly until the year 2248.
PROCESSES = 1024
# How long the clock is used before the counter is tried again.
RETRY_SECONDS = 5.0


class RequestIds:
    """Counts the requests of one server; each worker opens the counter for itself."""

    def __init__(self, state_dir: Path) -> None:
        self._database = StateDatabase(state_dir, durable=False)
        self._reserved: deque[int] = deque()
        self._highest = 0
        self._next_try = 0.0
        self._last_moment = 0
        self._reserve()

    def next_id(self) -> int:
        """Return a number that no request has had before."""
        if len(self._reserved) < BLOCK // 2 and time.monotonic() >= self._next_try:
            self._reserve()
        return self._reserved.popleft() if self._reserved else self._from_clock()

    def _reserve(self) -> None:
        # A greenlet may wait in here, and the others take what is left.
        self._next_try = time.monotonic() + RETRY_SECONDS
        try:
            # The counter may be a new one, because somebody deleted the folder.
            [[last]] = self._database.execute(
                f"UPDATE counter SET last = max(last, ?) + {BLOCK} WHERE id = 1 RETURNING last", (self._highest,)
            )
        except StorageFull as error:
            logger.warning("No request ids can be reserved: %s", error.sentence)
        else:
            self._highest = last
            self._reserved.extend(range(last - BLOCK + 1, last + 1))
            self._next_try = 0.0

    def _from_clock(self) -> int:
        self._last_moment = max(self._last_moment + 1, time.time_ns() // 1_000_000)
        return self._last_moment * PROCESSES + os.getpid() % PROCESSES
