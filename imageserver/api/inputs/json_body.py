"""Read a request's body as JSON, whatever its content type says."""

import json
from typing import Any, TypeVar

from flask import request
from pydantic import BaseModel

from imageserver.api.inputs.validation import validated
from imageserver.errors import BadRequest

M = TypeVar("M", bound=BaseModel)

# No body of any dialect needs ten. Python could not print or encode values much deeper.
MAX_DEPTH = 100
# A batch of 100 tasks has some 3000. A list of a million wrong ones costs pydantic 4 s and 1 GB for its errors.
MAX_VALUES = 10_000


def read_json() -> Any:
    """Return the JSON body; raises BadRequest, or werkzeug's 413 for a body over the limit."""
    return parsed(read_body())


def read_model(model: type[M]) -> M:
    """Return the JSON body as a model; raises BadRequest, or InvalidParameter naming the field and its limit."""
    return validated(model, as_object(read_json()))


def as_object(content: Any) -> dict[str, Any]:
    """Return parsed JSON if it is an object; raises BadRequest."""
    if not isinstance(content, dict):
        raise BadRequest("The body must be a JSON object.")
    return content


def read_body() -> bytes:
    """Return the body unparsed; raises werkzeug's 413 for a body over the limit."""
    data: bytes = request.stream.read()
    # werkzeug cuts a chunked body off at the limit silently; only another read raises.
    request.stream.read(1)
    return data


def parsed(data: bytes) -> Any:
    """Return the parsed JSON; raises BadRequest."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not valid JSON.") from None
    refuse_if_unwieldy(content)
    return content


def refuse_if_unwieldy(content: Any) -> None:
    """Raise BadRequest for too many values, or for lists and objects that are nested too deeply."""
    level, count = _inside([content]), 0
    for _ in range(MAX_DEPTH):
        count += sum(map(len, level))
        if count > MAX_VALUES:
            raise BadRequest(f"The JSON contains more than {MAX_VALUES} values.")
        level = [inner for each in level for inner in _inside(each)]
    if level:
        raise BadRequest(f"The JSON is nested more than {MAX_DEPTH} levels deep.")


def _inside(value: Any) -> list[Any]:
    """Return the lists and objects inside a list or an object."""
    values = value.values() if isinstance(value, dict) else value
    return [each for each in values if isinstance(each, list | dict)]
