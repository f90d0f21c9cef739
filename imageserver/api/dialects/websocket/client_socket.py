"""The socket of a WebSocket client, which cannot block the server forever, and the queue of frames for it.

The library reads on a thread of its own and passes on whole messages. The socket keeps it from sending parts of frames,
from buffering everything a client sends, and from waiting for a client that does not read.
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

from imageserver.api.dialects.websocket.arriving_message import ArrivingMessage
from imageserver.api.dialects.websocket.text_bytes import TextAsBytes
from imageserver.api.wsgi.yielding import yield_to_others

logger = logging.getLogger(__name__)

# How often a blocked send checks its time limit.
POLL_SECONDS = 0.5
# For a client to read the last frames before the kernel may discard them.
CLOSE_SECONDS = 2.0
# The queue of one client, and how long a frame may be in sending before queued ones are dropped.
MAX_WAITING = 32
SLOW_SECONDS = 0.25


class ClientSocket:
    """A client's socket with the methods that the library needs.

    `timeout()` is the number of seconds after which a send that makes no progress fails.
    """

    def __init__(self, connection: Any, timeout: Callable[[], float]) -> None:
        self._socket = connection
        self._timeout = timeout
        self._sending = BoundedSemaphore(1)
        self._reader: Any = None
        self._is_cut = False

    def serve(self, reader: Any, message: ArrivingMessage) -> None:
        """Read no faster than `reader`, the library's connection, consumes messages, which it gets as bytes."""
        reader.ws = TextAsBytes(reader.ws, message)
        self._reader = reader

    def fileno(self) -> int:
        return int(self._socket.fileno())

    def recv(self, size: int) -> bytes:
        reader = self._reader
        # The library takes a message that arrives after its close frame for a sign that the connection goes on.
        while reader is not None and reader.connected and reader.input_buffer and not self._is_cut:
            gevent.sleep(0.005)
        data: bytes = b"" if self._is_cut else self._socket.recv(size)
        # gevent lets others in only while there is nothing to read: a client that sends fast would keep them out.
        yield_to_others()
        if reader is not None:
            # A client that is sending a large frame cannot answer a ping in the middle of it.
            reader.pong_received = True
        return data

    def send(self, data: bytes) -> int:
        """Send everything, one caller at a time; raises OSError when the client reads nothing for too long."""
        with self._sending:
            left = memoryview(data)
            while left:
                left = left[self._send_some(left) :]
        return len(data)

    def cut(self) -> None:
        """Shut the connection down at once, which wakes every reader and sender."""
        self._is_cut = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close once the client has closed too: an earlier close would discard frames that it has not read."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            with gevent.Timeout(CLOSE_SECONDS, False):
                while self._socket.recv(65536):
                    pass
        self._socket.close()

    def _send_some(self, data: memoryview) -> int:
        waited = 0.0
        while waited < self._timeout():
            with gevent.Timeout(POLL_SECONDS, False):
                return int(self._socket.send(data))
            waited += POLL_SECONDS
        self.cut()
        raise TimeoutError("The client does not read.")


class FrameKind(IntEnum):
    """The kinds of frames in the order in which they are dropped for a slow client; required ones never are."""

    PREVIEW = 0
    PROGRESS = 1
    REQUIRED = 2


@dataclass(frozen=True)
class _WaitingFrame:
    build: Callable[[], dict[str, Any]]
    kind: FrameKind
    on_drop: Callable[[], None]


class Outbox:
    """The queue of frames for one client; a slow client misses previews first, then progress.

    `send` is called with one frame at a time in a greenlet of its own. A frame is built just before it is sent, so a
    dropped preview costs nothing, and only one large frame is in memory.
    """

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._waiting: deque[_WaitingFrame] = deque()
        self._sending_since: float | None = None
        self._closed = False
        self._added, self._progressed = Event(), Event()
        self._writer = gevent.spawn(self._write)

    def put(
        self,
        build: Callable[[], dict[str, Any]],
        kind: FrameKind = FrameKind.REQUIRED,
        on_drop: Callable[[], None] = lambda: None,
    ) -> None:
        """Queue `build()`; waits for room, or calls `on_drop` if the frame is dropped.

        Raises ConnectionClosed when the connection is closed.
        """
        if kind is FrameKind.REQUIRED:
            while self._is_slow and self._drop(FrameKind.PREVIEW):
                pass
        while len(self._waiting) >= MAX_WAITING and not self._closed:
            if self._is_slow:
                if self._drop(FrameKind.PROGRESS):
                    break
                if kind is not FrameKind.REQUIRED:
                    on_drop()
                    return
            self._progressed.clear()
            self._progressed.wait(SLOW_SECONDS)
        if self._closed:
            raise ConnectionClosed
        self._waiting.append(_WaitingFrame(build, kind, on_drop))
        self._added.set()

    def flush(self) -> None:
        """Wait until everything is sent or the connection is closed."""
        while (self._waiting or self._sending_since is not None) and not self._closed:
            self._progressed.clear()
            self._progressed.wait(POLL_SECONDS)

    def close(self) -> None:
        """Finish the frame in sending and drop the rest."""
        self._end()
        self._added.set()
        self._writer.join(CLOSE_SECONDS)
        self._writer.kill()

    @property
    def is_empty(self) -> bool:
        """Whether everything is sent."""
        return not self._waiting and self._sending_since is None

    @property
    def _is_slow(self) -> bool:
        return self._sending_since is not None and time.monotonic() - self._sending_since > SLOW_SECONDS

    def _drop(self, up_to: FrameKind) -> bool:
        """Drop the oldest frame of the first kind to drop, if it is at most `up_to`; return whether there was one."""
        waiting = min(self._waiting, key=lambda each: each.kind, default=None)
        if waiting is None or waiting.kind > up_to:
            return False
        self._waiting.remove(waiting)
        waiting.on_drop()
        return True

    def _write(self) -> None:
        while not self._closed:
            if not self._waiting:
                self._added.clear()
                self._added.wait()
                continue
            waiting = self._waiting.popleft()
            self._sending_since = time.monotonic()
            self._progressed.set()
            try:
                self._send(waiting.build())
            except (ConnectionClosed, OSError):
                self._end()
            except Exception:
                logger.exception("A frame could not be built.")
            self._sending_since = None
            self._progressed.set()

    def _end(self) -> None:
        self._closed = True
        self._waiting.clear()
        self._progressed.set()
