"""The headers of every response in every dialect."""

import time
from collections.abc import Sequence

from flask import Flask, Response, g

from imageserver.telemetry.logs import current_credential, current_request, current_trace

# Clients accept header lines of up to 8 KiB.
MAX_WARNINGS_CHARACTERS = 2000


def register(app: Flask) -> None:
    """Record when requests arrive, and add the request id to responses."""

    @app.before_request
    def record_arrival() -> None:
        g.arrived = time.monotonic()
        # A kept-alive connection serves its next request in the same context.
        current_request.set(None)
        current_credential.set("")
        current_trace.set("")

    @app.after_request
    def add_headers(response: Response) -> Response:
        if "request_id" in g:
            response.headers["X-Request-Id"] = str(g.request_id)
        return response


def add_warnings(response: Response, warnings: Sequence[str]) -> Response:
    """Return the response with its warnings in `X-Warnings`, cut to the length of a header."""
    if warnings:
        response.headers["X-Warnings"] = header_text(" | ".join(warnings))
    return response


def header_text(text: str) -> str:
    """Return a text as ASCII on one line: headers are latin-1, and warnings may quote what a client sent."""
    return " ".join(text.encode("ascii", "backslashreplace").decode()[:MAX_WARNINGS_CHARACTERS].split())
