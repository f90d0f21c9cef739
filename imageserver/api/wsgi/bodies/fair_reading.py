"""Read bodies in turns with other clients.

gevent lets others in only while a socket has nothing to read. A client that sends faster than the server reads kept it
for itself: for 0.1 s with 32 MiB, for 52 s with 5 MiB in chunks of one byte.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Flask

from imageserver.api.wsgi.yielding import yield_to_others
from imageserver.errors import BadRequest

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

# 32 MiB in chunks of 336 bytes; each takes 10 µs, whatever its size.
MAX_CHUNKS = 100_000
CHUNKS_PER_YIELD = 200


class _FairReader:
    """gunicorn's reader of a body; gunicorn itself reads what the application has left of it, without a limit."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.max_chunks: float = MAX_CHUNKS
        # Only a chunked body has one.
        if getattr(reader, "parser", None) is not None:
            reader.parser = self._shared(reader.parser)

    def read(self, size: int) -> bytes:
        yield_to_others()
        data: bytes = self._reader.read(size)
        return data

    def _shared(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for count, chunk in enumerate(chunks, 1):
            if count > self.max_chunks:
                raise BadRequest(f"The request body has more than {MAX_CHUNKS} chunks.")
            if count % CHUNKS_PER_YIELD == 0:
                yield_to_others()
            yield chunk


def register(app: Flask) -> None:
    """Let every body be read in turns, and refuse one of more than MAX_CHUNKS chunks with BadRequest.

    To be registered after everything else that wraps a body: it needs gunicorn's own.
    """
    inner: Application = app.wsgi_app

    def with_fair_reader(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"]
        # gevent's own server, which `serve` uses, reads without one.
        if not hasattr(body, "reader"):
            return inner(environ, start_response)
        reader = body.reader = _FairReader(body.reader)
        try:
            return inner(environ, start_response)
        finally:
            reader.max_chunks = math.inf

    app.wsgi_app = with_fair_reader  # type: ignore[method-assign]
