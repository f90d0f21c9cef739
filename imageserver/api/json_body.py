"""Read a request's body as JSON, whatever its content type says."""

import json
from typing import Any

from flask import request

from imageserver.errors import BadRequest


def read_json() -> Any:
    """Return what the body holds; raises BadRequest, or werkzeug's 413 when it is over the limit."""
    return parsed(read_body())


def read_body() -> bytes:
    """Return the body as it came; raises werkzeug's 413 when it is over the limit."""
    data: bytes = request.stream.read()
    # A chunked body is cut off at the limit without a word; only reading on tells.
    request.stream.read(1)
    return data


def parsed(data: bytes) -> Any:
    """Return what the JSON says; raises BadRequest."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not valid JSON.") from None
