"""A bound on the memory that requests need for a while; those that find no room wait in the order of their arrival."""

import contextlib
from collections import deque
from collections.abc import Iterator
from typing import Any

import gevent
from gevent.event import AsyncResult

from imageserver.api.wsgi.disconnect import while_client_stays
from imageserver.errors import Cancelled, DeadlineExceeded


class MemoryBudget:
    """`max_bytes` for one worker; a request that needs more than that gets all of it for itself."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._free = max_bytes
        self._waiting: deque[tuple[int, AsyncResult[None]]] = deque()

    @contextlib.contextmanager
    def reserve(self, size: int, timeout: float, environ: dict[str, Any]) -> Iterator[None]:
        """Hold `size` bytes, after waiting for them for up to `timeout` seconds.

        Raises DeadlineExceeded, and Cancelled when the client leaves while it waits.
        """
        size = min(size, self._max_bytes)
        if self._waiting or size > self._free:
            self._wait(size, timeout, environ)
        else:
            self._free -= size
        try:
            yield
        finally:
            self._release(size)

    def _wait(self, size: int, timeout: float, environ: dict[str, Any]) -> None:
        room: AsyncResult[None] = AsyncResult()
        self._waiting.append((size, room))
        try:
            with while_client_stays(environ, lambda: room.set_exception(Cancelled("The client left."))):
                room.get(timeout=timeout)
        except BaseException as error:
            if (size, room) in self._waiting:
                self._waiting.remove((size, room))
            else:
                self._free += size
            self._admit()
            if isinstance(error, gevent.Timeout):
                sentence = f"The time limit passed while it waited {timeout:g} s for memory to decode its image"
                raise DeadlineExceeded(f"{sentence} (MAX_DECODE_MB).") from None
            raise

    def _release(self, size: int) -> None:
        self._free += size
        self._admit()

    def _admit(self) -> None:
        """Give what is free to those that wait, in their order: small ones must not keep a large one waiting."""
        while self._waiting and self._waiting[0][0] <= self._free:
            size, room = self._waiting.popleft()
            self._free -= size
            room.set(None)
