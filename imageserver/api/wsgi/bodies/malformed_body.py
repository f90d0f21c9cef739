"""Answer a body whose chunks are malformed with 400: to the servers below it is an error of the application."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Flask

from imageserver.errors import BadRequest

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

# Of gunicorn, which Windows does not have, and of gevent's own server, which keeps its class to itself.
# gevent raises ValueError for a size of no digits.
PARSE_ERRORS = {"ParseException", "_InvalidClientInput", "ValueError"}


class _CheckedBody:
    """A body that raises BadRequest where its chunks end or are not what they announce."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self.is_malformed = False

    def read(self, *size: int) -> bytes:
        with self._translated():
            data: bytes = self._body.read(*size)
        return data

    def readline(self, *size: int) -> bytes:
        with self._translated():
            data: bytes = self._body.readline(*size)
        return data

    def __getattr__(self, name: str) -> Any:
        # gunicorn and simple-websocket look for attributes of their own here.
        return getattr(self._body, name)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if PARSE_ERRORS.isdisjoint(kind.__name__ for kind in type(error).__mro__):
                raise
            self.is_malformed = True
            raise BadRequest("The chunks of the request body are malformed.") from error


def register(app: Flask) -> None:
    """Check the chunks of every body."""
    inner: Application = app.wsgi_app

    def with_checked_body(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"] = _CheckedBody(environ["wsgi.input"])

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            # gevent's server would read the rest of the body as the next request.
            closing = [("Connection", "close")] if body.is_malformed else []
            return start_response(status, [*headers, *closing], *error)

        return inner(environ, start)

    app.wsgi_app = with_checked_body  # type: ignore[method-assign]
