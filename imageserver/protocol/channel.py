"""A blocking, framed connection for the sides that are not the dispatcher: HTTP workers and engines."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from imageserver.protocol.framing import Frame, decode_message, pack, read_frame
from imageserver.protocol.messages import Message


@dataclass(frozen=True)
class Address:
    """Where a dispatcher listens: a Unix socket path, or a loopback TCP port; `key` admits a peer."""

    path: str | None
    port: int | None
    key: str

    def connect(self, timeout: float = 5.0) -> socket.socket:
        """Return a connected blocking socket; raises OSError."""
        if self.path is not None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(timeout)
            try:
                connection.connect(self.path)
            except BaseException:
                connection.close()
                raise
        else:
            connection = socket.create_connection(("127.0.0.1", self.port or 0), timeout)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(None)
        return connection


class Channel:
    """Send from any thread, receive from one; `decode` reads the messages of a connection that has its own."""

    def __init__(self, connection: socket.socket, decode: Callable[[bytes], Any] = decode_message) -> None:
        self._connection = connection
        self._decode = decode
        self._sending = threading.Lock()

    def send(self, message: Message, raw: bytes | memoryview = b"") -> None:
        """Send one frame; raises OSError when the peer is gone."""
        with self._sending:
            self._connection.sendall(pack(message, len(raw)))
            if raw:
                self._connection.sendall(raw)

    def receive(self) -> Frame:
        """Return the next message and its raw bytes; raises EOFError if the peer is gone or breaks the protocol."""
        parser = read_frame(decode=self._decode)
        size = next(parser)
        while True:
            try:
                size = parser.send(self._read(size))
            except StopIteration as end:
                frame: Frame = end.value
                return frame

    def __iter__(self) -> Iterator[Frame]:
        """Receive until the peer is gone."""
        with contextlib.suppress(EOFError):
            while True:
                yield self.receive()

    def close(self) -> None:
        """Close the connection and wake a blocked `receive`."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _read(self, size: int) -> bytes:
        buffer = bytearray(size)
        view, position = memoryview(buffer), 0
        while position < size:
            try:
                count = self._connection.recv_into(view[position:])
            except OSError as error:
                raise EOFError(str(error)) from error
            if count == 0:
                raise EOFError("The peer closed the connection.")
            position += count
        return bytes(buffer)
