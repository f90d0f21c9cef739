"""Server-sent events: how frames are written, kept alive and ended, whatever dialect fills them.

Source: WHATWG HTML, section 9.2, server-sent events.
"""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response

from imageserver.errors import ServiceError

logger = logging.getLogger(__name__)

HEARTBEAT_FRAME = b": still here\n\n"


def frame(data: Any, *, event: str | None = None, number: int | None = None) -> bytes:
    """Return one event; `data` is written as JSON on one line, `number` is what `Last-Event-ID` resumes from."""
    lines = [] if event is None else [f"event: {event}"]
    if number is not None:
        lines.append(f"id: {number}")
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    lines.append(f"data: {text}")
    return ("\n".join(lines) + "\n\n").encode()


def comment(text: str) -> bytes:
    """Return a line that every client ignores."""
    return f": {text}\n\n".encode()


def event_stream(frames: Iterator[bytes], say_error: Callable[[ServiceError], bytes]) -> Response:
    """Answer a stream of frames; a failure on the way is said by `say_error`, for the status is out already."""
    response = Response(_guarded(frames, say_error), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-cache"
    # nginx would hold frames back until its buffer is full.
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _guarded(frames: Iterator[bytes], say_error: Callable[[ServiceError], bytes]) -> Iterator[bytes]:
    try:
        yield from frames
    except ServiceError as error:
        logger.info("%d %s: %s", error.status, error.code, error.sentence)
        yield say_error(error)
    except Exception:
        logger.exception("A stream failed.")
        yield say_error(ServiceError("The server made a mistake; its log tells more under the request id."))
