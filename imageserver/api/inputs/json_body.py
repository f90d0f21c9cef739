"""Read a request's body as JSON, whatever its content type says."""

from typing import Any, TypeVar

from flask import request
from pydantic import BaseModel

from imageserver.api.inputs import bounded_json
from imageserver.api.inputs.validation import validated
from imageserver.api.inputs.whole_body import read_whole
from imageserver.errors import BadRequest

M = TypeVar("M", bound=BaseModel)

FORM = "application/x-www-form-urlencoded"


def read_json() -> Any:
    """Return the JSON body; raises BadRequest, or werkzeug's 413 for a body over the limit."""
    return bounded_json.parse(read_body())


def read_model(model: type[M]) -> M:
    """Return the JSON body as a model; raises BadRequest, or InvalidParameter naming the field and its limit."""
    return validated(model, as_object(read_json()))


def as_object(content: Any) -> dict[str, Any]:
    """Return parsed JSON if it is an object; raises BadRequest."""
    if not isinstance(content, dict):
        raise BadRequest("The body must be a JSON object.")
    return content


def read_body() -> bytes:
    """Return the body unparsed, of what may be a form also a second time; raises werkzeug's 413 over the limit."""
    if request.mimetype != FORM:
        return read_whole(request.stream)
    data = request.get_data()
    # As in `read_whole`.
    request.stream.read(1)
    return data
