"""What every answer carries, whatever its dialect."""

import time
from collections.abc import Sequence

from flask import Flask, Response, g

from imageserver.telemetry.logs import current_request

# Clients read header lines of 8 KiB.
MAX_WARNINGS_CHARACTERS = 2000


def register(app: Flask) -> None:
    """Note when requests arrive; add the request id to answers, and keep browsers from guessing content types."""

    @app.before_request
    def note_arrival() -> None:
        g.arrived = time.monotonic()
        # A connection that is kept alive serves its next request in the same context.
        current_request.set(None)

    @app.after_request
    def add_headers(response: Response) -> Response:
        if "request_id" in g:
            response.headers["X-Request-Id"] = str(g.request_id)
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def add_warnings(response: Response, warnings: Sequence[str]) -> Response:
    """Return the response with its warnings in `X-Warnings`, cut where they would be too long for a header."""
    if warnings:
        response.headers["X-Warnings"] = in_a_header(" | ".join(warnings))
    return response


def in_a_header(text: str) -> str:
    """Return a text as a header may carry it: headers are latin-1, and sentences may quote what a client sent."""
    return " ".join(text.encode("ascii", "backslashreplace").decode()[:MAX_WARNINGS_CHARACTERS].split())
