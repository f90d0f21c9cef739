"""Limit the time in which a body must arrive: a client that sends a byte now and then would hold a connection forever.

gunicorn's gevent worker gives every connection a greenlet and waits for the body without a limit; only the wait for the
next request on a connection has one (`keepalive`).
"""

import contextlib
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

import gevent
from flask import Flask

from imageserver.errors import BodyTooSlow

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class _TimedBody:
    """A body that raises BodyTooSlow after a deadline on the monotonic clock."""

    def __init__(self, body: Any, deadline: float, limit: float, connection: socket.socket | None) -> None:
        self._body = body
        self._deadline = deadline
        self._limit = limit
        self._connection = connection

    def read(self, *size: int) -> bytes:
        return self._in_time(self._body.read, *size)

    def readline(self, *size: int) -> bytes:
        return self._in_time(self._body.readline, *size)

    def __getattr__(self, name: str) -> Any:
        # gunicorn and simple-websocket look for attributes of their own here.
        return getattr(self._body, name)

    def _in_time(self, read: Callable[..., bytes], *size: int) -> bytes:
        left = self._deadline - time.monotonic()
        if left > 0:
            with gevent.Timeout(left, False):
                return read(*size)
        if self._connection is not None:
            # gunicorn would wait for the rest before it closes the connection.
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RD)
        raise BodyTooSlow(f"The request body did not arrive within {self._limit:g} s (BODY_TIMEOUT).")


def register(app: Flask, limit: float) -> None:
    """Give every body `limit` seconds to arrive."""
    inner: Application = app.wsgi_app

    def with_deadline(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body, connection = environ["wsgi.input"], environ.get("gunicorn.socket")
        environ["wsgi.input"] = _TimedBody(body, time.monotonic() + limit, limit, connection)
        return inner(environ, start_response)

    app.wsgi_app = with_deadline  # type: ignore[method-assign]
