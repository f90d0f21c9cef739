"""A large body, and how it is sent: whole, in chunks of one byte, or in a frame of a WebSocket."""

import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

MIB = 2**20
JSON, URLENCODED = "application/json", "application/x-www-form-urlencoded"
TIMEOUT = 120.0

Transfer = Literal["whole", "chunked", "frame"]


@dataclass(frozen=True)
class SentBody:
    """A body under the name that the table shows; `build` makes it when it is needed, for all together are large."""

    name: str
    build: Callable[[int], bytes]
    path: str = "/generate"
    content_type: str = JSON
    transfer: Transfer = "whole"


def send(port: int, body: SentBody, data: bytes) -> str:
    """Send a body and return the status of the answer; of a frame `result`, or the code of the error."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        try:
            if body.transfer == "frame":
                return _send_frame(connection, body, data)
            connection.sendall(_request(body, data))
        except OSError as error:
            return type(error).__name__
        return connection.recv(4096).partition(b" ")[2][:3].decode() or "closed"


def _request(body: SentBody, data: bytes) -> bytes:
    length = f"Content-Length: {len(data)}"
    if body.transfer == "chunked":
        length, data = "Transfer-Encoding: chunked", b"1\r\n \r\n" * len(data) + b"0\r\n\r\n"
    head = f"POST {body.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {body.content_type}\r\n{length}\r\n\r\n"
    return head.encode() + data


def _send_frame(connection: socket.socket, body: SentBody, data: bytes) -> str:
    handshake = (
        f"GET {body.path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    connection.sendall(handshake.encode())
    connection.recv(4096)
    # FIN and text; masked by zeros; a length of 64 bits.
    connection.sendall(b"\x81\xff" + struct.pack(">Q", len(data)) + bytes(4) + data)
    received = ""
    while more := connection.recv(4096):
        received += more.decode(errors="replace")
        if '"type":"result"' in received:
            return "result"
        if found := re.search(r'"code":"(\w+)"', received):
            return found[1]
    return "closed"
