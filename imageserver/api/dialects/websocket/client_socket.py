"""The way to a WebSocket's client: a socket that nobody can hold up for ever, and the frames that wait for it.

The library reads on a thread of its own and hands whole messages over; what is written here keeps it from sending a
part of a frame, from piling up what a client sends, and from waiting for one that takes nothing.
"""

import contextlib
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore
from simple_websocket import ConnectionClosed

logger = logging.getLogger(__name__)

# Seconds between two looks at whether patience is over.
POLL_SECONDS = 0.5
# Seconds in which a client is given what was said last, before the kernel may throw it away.
CLOSE_SECONDS = 2.0
# Frames that wait for one client, and seconds that the one before them may take before some of them are dropped.
MAX_WAITING = 32
HELD_UP = 0.25


class ClientSocket:
    """A client's socket, as the library needs it.

    `patience()` is the number of seconds that the client may take nothing of what is sent.
    """

    def __init__(self, connection: Any, patience: Callable[[], float]) -> None:
        self._socket = connection
        self._patience = patience
        self._sending = BoundedSemaphore(1)
        self._reader: Any = None

    def serve(self, reader: Any) -> None:
        """Read no faster than the messages of `reader`, the library's connection, are taken."""
        self._reader = reader

    def fileno(self) -> int:
        """Return the number that the library waits on."""
        return int(self._socket.fileno())

    def recv(self, size: int) -> bytes:
        """Return what arrived, as a socket does."""
        reader = self._reader
        while reader is not None and reader.connected and reader.input_buffer:
            gevent.sleep(0.005)
        data: bytes = self._socket.recv(size)
        if reader is not None:
            # Who is busy sending a large frame cannot answer a ping in the middle of it.
            reader.pong_received = True
        return data

    def send(self, data: bytes) -> int:
        """Send everything, one caller after the other; raises OSError when the client takes nothing for too long."""
        with self._sending:
            left = memoryview(data)
            while left:
                left = left[self._send_some(left) :]
        return len(data)

    def cut(self) -> None:
        """End the connection at once: whoever reads from it or sends on it is woken."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it once the client has hung up too: the kernel throws unread words away when it closes earlier."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            with gevent.Timeout(CLOSE_SECONDS, False):
                while self._socket.recv(65536):
                    pass
        self._socket.close()

    def _send_some(self, data: memoryview) -> int:
        waited = 0.0
        while waited < self._patience():
            with gevent.Timeout(POLL_SECONDS, False):
                return int(self._socket.send(data))
            waited += POLL_SECONDS
        self.cut()
        raise TimeoutError("The client takes nothing.")


class FrameKind(IntEnum):
    """What a client may miss, the first first."""

    PREVIEW = 0
    PROGRESS = 1
    REQUIRED = 2


@dataclass(frozen=True)
class _WaitingFrame:
    make: Callable[[], dict[str, Any]]
    kind: FrameKind
    on_drop: Callable[[], None]


class Outbox:
    """Frames on their way to one client, in their order; one who reads slowly misses previews first, then progress.

    `send` is called with one frame after the other in a greenlet of its own. Frames are made when it is their turn, so
    a preview that is dropped has cost nothing, and of large frames only one is kept in memory.
    """

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._waiting: deque[_WaitingFrame] = deque()
        self._taken_at: float | None = None
        self._closed = False
        self._filled, self._moved = Event(), Event()
        self._writer = gevent.spawn(self._write)

    def put(
        self,
        make: Callable[[], dict[str, Any]],
        kind: FrameKind = FrameKind.REQUIRED,
        on_drop: Callable[[], None] = lambda: None,
    ) -> None:
        """Let `make()` be sent in its turn; waits for room, or calls `on_drop` where the client may miss it.

        Raises ConnectionClosed when nothing can be sent any more.
        """
        if kind is FrameKind.REQUIRED:
            while self._is_held_up and self._drop(FrameKind.PREVIEW):
                pass
        while len(self._waiting) >= MAX_WAITING and not self._closed:
            if self._is_held_up and not self._drop(FrameKind.PROGRESS) and kind is not FrameKind.REQUIRED:
                on_drop()
                return
            self._wait_for_room()
        if self._closed:
            raise ConnectionClosed
        self._waiting.append(_WaitingFrame(make, kind, on_drop))
        self._filled.set()

    def flush(self) -> None:
        """Wait until everything is sent, or nothing can be any more."""
        while (self._waiting or self._taken_at is not None) and not self._closed:
            self._moved.clear()
            self._moved.wait(POLL_SECONDS)

    def close(self) -> None:
        """Send nothing more but the rest of the frame that is being sent."""
        self._end()
        self._filled.set()
        self._writer.join(CLOSE_SECONDS)
        self._writer.kill()

    @property
    def is_empty(self) -> bool:
        """Whether everything was sent."""
        return not self._waiting and self._taken_at is None

    @property
    def _is_held_up(self) -> bool:
        return self._taken_at is not None and time.monotonic() - self._taken_at > HELD_UP

    def _wait_for_room(self) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._moved.clear()
            self._moved.wait(HELD_UP)

    def _drop(self, most: FrameKind) -> bool:
        """Drop the oldest of what is missed least, up to a kind; return whether there was any."""
        waiting = min(self._waiting, key=lambda each: each.kind, default=None)
        if waiting is None or waiting.kind > most:
            return False
        self._waiting.remove(waiting)
        waiting.on_drop()
        return True

    def _write(self) -> None:
        while not self._closed:
            if not self._waiting:
                self._filled.clear()
                self._filled.wait()
                continue
            waiting = self._waiting.popleft()
            self._taken_at = time.monotonic()
            self._moved.set()
            try:
                self._send(waiting.make())
            except (ConnectionClosed, OSError):
                self._end()
            except Exception:
                logger.exception("A frame could not be made.")
            self._taken_at = None
            self._moved.set()

    def _end(self) -> None:
        self._closed = True
        self._waiting.clear()
        self._moved.set()
