"""Detect within a millisecond that a client has disconnected while its image is generated."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.socket

# gunicorn puts the client's socket into the WSGI environment under this key; so does the server of `serve`.
SOCKET_KEY = "gunicorn.socket"


@contextlib.contextmanager
def while_client_stays(environ: dict[str, Any], on_leave: Callable[[], None]) -> Iterator[None]:
    """Call `on_leave` once, in a greenlet of its own, if the client disconnects before the block ends."""
    connection = environ.get(SOCKET_KEY)
    if connection is None:
        yield
        return
    watcher = gevent.spawn(_watch, connection, on_leave)
    try:
        yield
    finally:
        watcher.kill(block=False)


def _watch(connection: Any, on_leave: Callable[[], None]) -> None:
    try:
        gevent.socket.wait_read(connection.fileno())
        left = connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        left = True
    if left:
        # The end of the block kills this greenlet. In the middle of a message to the dispatcher that would leave half
        # of it on the connection, and the dispatcher would wait for the rest while all later requests waited for it.
        gevent.spawn(on_leave)
