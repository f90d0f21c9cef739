"""Read a request's body as JSON, whatever its content type says."""

import json
from typing import Any

from flask import request

from imageserver.errors import BadRequest

# No body of any dialect needs ten. What Python can just read so, it may not be able to write or show any more.
DEEPEST = 100
# A batch of 100 tasks has some 3000. Of a million wrong ones in a list pydantic makes a million errors: 4 s and 1 GB.
MAX_VALUES = 10_000


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
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not valid JSON.") from None
    refuse_if_unwieldy(content)
    return content


def refuse_if_unwieldy(content: Any) -> None:
    """Raise BadRequest for more values than any dialect needs, or for lists and objects too deep inside each other."""
    level, count = _inside([content]), 0
    for _ in range(DEEPEST):
        count += sum(map(len, level))
        if count > MAX_VALUES:
            raise BadRequest(f"The JSON holds more than {MAX_VALUES} values.")
        level = [inner for each in level for inner in _inside(each)]
    if level:
        raise BadRequest(f"The JSON is nested more than {DEEPEST} levels deep.")


def _inside(value: Any) -> list[Any]:
    """Return the lists and objects that a list or an object holds."""
    values = value.values() if isinstance(value, dict) else value
    return [each for each in values if isinstance(each, list | dict)]
