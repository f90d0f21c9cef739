"""Limit the bytes of all bodies that are still arriving: each of many slow clients could leave a large one unfinished.

The messages of WebSockets count as well. What has arrived counts among what waits for its answer, and a large answer
counts there until it has been sent.
"""

import contextlib
import socket
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response, has_request_context, request
from werkzeug.wsgi import ClosingIterator

from imageserver.api.wsgi.bodies.room import ArrivingBodies
from imageserver.api.wsgi.bodies.waiting import WaitingBytes
from imageserver.api.wsgi.disconnect import SOCKET_KEY
from imageserver.errors import BodyTooSlow
from imageserver.web_addresses import TrustedProxies, network_of

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

# Where a WebSocket finds what counts its messages while they arrive.
ARRIVING_KEY = "imageserver.arriving"
# Where a view finds the ArrivingBody of its request.
BODY_KEY = "imageserver.body"


class ArrivingBody:
    """A body that raises BodyTooSlow once it has to make room for others, and QueueFull where too many wait."""

    def __init__(self, bodies: ArrivingBodies, waiting: WaitingBytes, environ: dict[str, Any], client: str) -> None:
        self.client = client
        # Whether it counts until the answer has been sent, and not only until that begins.
        self.lasts_until_sent = False
        self._bodies = bodies
        self._waiting = waiting
        self._body = environ["wsgi.input"]
        self._connection: socket.socket | None = environ.get(SOCKET_KEY)
        self._left = int(environ.get("CONTENT_LENGTH") or -1)
        self._size = self._waiting_size = 0
        self._further: list[int] = []
        self._is_given_up = False

    def read(self, *size: int) -> bytes:
        return self._counted(self._body.read, *size)

    def readline(self, *size: int) -> bytes:
        return self._counted(self._body.readline, *size)

    def __getattr__(self, name: str) -> Any:
        # gunicorn and simple-websocket look for attributes of their own here.
        return getattr(self._body, name)

    def give_up(self) -> None:
        """Wake whoever waits for the rest of it."""
        self._is_given_up = True
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RD)

    def hold(self, size: int) -> None:
        """Count bytes that the request needs beside its body; raises QueueFull where they find no room."""
        self._waiting.hold(self.client, size)
        self._further.append(size)

    def add(self, size: int) -> None:
        """Count bytes that the request has beside its body already, whether they find room or not."""
        self._waiting.add(self.client, size)
        self._further.append(size)

    def be_answered(self, size: int) -> None:
        """Count the bytes of the answer until it has been sent, in place of the request."""
        self.release()
        self.add(size)
        self.lasts_until_sent = True

    def release(self) -> None:
        """Count nothing any more: its request has been answered, or its images are in the queue and a stream begins."""
        for size in (self._waiting_size, *self._further):
            self._waiting.release(self.client, size)
        self._size = self._waiting_size = 0
        self._further.clear()

    def _counted(self, read: Callable[..., bytes], *size: int) -> bytes:
        try:
            data = read(*size)
        except Exception:
            self._raise_if_given_up()
            raise
        self._raise_if_given_up()
        self._left -= len(data)
        self._size += len(data)
        # Of chunks only the end says that they are all.
        if data and self._left != 0:
            self._bodies.add(self, len(data))
            # It may have made room itself.
            self._raise_if_given_up()
        else:
            self._end()
        return data

    def _end(self) -> None:
        self._bodies.end(self)
        if not self._waiting_size:
            self._waiting.hold(self.client, self._size)
            self._waiting_size = self._size

    def _raise_if_given_up(self) -> None:
        if self._is_given_up:
            raise BodyTooSlow("The request body made room for others that arrive (MAX_ARRIVING_MB); send it again.")


def hold(size: int) -> None:
    """Count bytes that the current request needs beside its body; raises QueueFull where they find no room."""
    if has_request_context() and BODY_KEY in request.environ:
        request.environ[BODY_KEY].hold(size)


def register(app: Flask, max_arriving: int, max_waiting: int, proxies: TrustedProxies) -> WaitingBytes:
    """Limit the bytes that are still arriving at this worker, and those that wait, each together; return the latter."""
    inner: Application = app.wsgi_app
    bodies, waiting = ArrivingBodies(max_arriving), WaitingBytes(max_waiting)

    @app.after_request
    def count_answer(response: Response) -> Response:
        # Of the others, a file is not in memory, and a stream counts what it has there itself.
        if response.is_sequence:
            body: ArrivingBody = request.environ[BODY_KEY]
            body.be_answered(response.calculate_content_length() or 0)
        return response

    def with_limit(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        client = proxies.client_of(environ.get("REMOTE_ADDR") or "", environ.get("HTTP_X_FORWARDED_FOR", ""))
        body = ArrivingBody(bodies, waiting, environ, network_of(client))
        environ |= {"wsgi.input": body, BODY_KEY: body, ARRIVING_KEY: bodies}
        with contextlib.ExitStack() as ends:
            ends.callback(body.release)
            try:
                answer = inner(environ, start_response)
            finally:
                bodies.end(body)
            return ClosingIterator(answer, ends.pop_all().close) if body.lasts_until_sent else answer

    app.wsgi_app = with_limit  # type: ignore[method-assign]
    return waiting
