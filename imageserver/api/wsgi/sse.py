"""Server-sent events for every dialect: frames, comments, heartbeats, and errors in the middle of a stream.

Source: WHATWG HTML, section 9.2, server-sent events.
"""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response

from imageserver.errors import ServiceError
from imageserver.telemetry.error_line import log_error

logger = logging.getLogger(__name__)

HEARTBEAT_FRAME = b": still here\n\n"


def frame(data: Any, *, event: str | None = None, number: int | None = None) -> bytes:
    """Return one event; `data` becomes one line of JSON, `number` is the id that `Last-Event-ID` resumes from."""
    lines = [] if event is None else [f"event: {event}"]
    if number is not None:
        lines.append(f"id: {number}")
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    lines.append(f"data: {text}")
    return ("\n".join(lines) + "\n\n").encode()


def comment(text: str) -> bytes:
    """Return a comment, which every client ignores."""
    return f": {text}\n\n".encode()


def event_stream(frames: Iterator[bytes], error_frame: Callable[[ServiceError], bytes]) -> Response:
    """Return a streaming response; an error in the middle becomes `error_frame(error)`: the status is already sent."""
    response = Response(_guarded(frames, error_frame), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-cache"
    # nginx would buffer the frames.
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _guarded(frames: Iterator[bytes], error_frame: Callable[[ServiceError], bytes]) -> Iterator[bytes]:
    try:
        yield from frames
    except ServiceError as error:
        log_error(logger, error)
        yield error_frame(error)
    except Exception:
        logger.exception("A stream failed.")
        yield error_frame(ServiceError())
