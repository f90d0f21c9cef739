"""Read a request's body as JSON, whatever its content type says."""

from typing import Any, TypeVar

from flask import request
from pydantic import BaseModel

from imageserver.api.inputs import bounded_json
from imageserver.api.inputs.validation import MAX_NAME_CHARACTERS, validated
from imageserver.api.inputs.whole_body import read_whole
from imageserver.api.wsgi.yielding import yield_to_others
from imageserver.errors import BadRequest, InvalidParameter

M = TypeVar("M", bound=BaseModel)

FORM = "application/x-www-form-urlencoded"
# What is encoded between two pauses, which takes 1 to 3 ms.
ENCODED_CHARACTERS = 2**20


def read_json() -> Any:
    """Return the JSON body; raises BadRequest, InvalidParameter, or werkzeug's 413 for a body over the limit."""
    content = bounded_json.parse(read_body())
    # A stream keeps its request, and a body that might have been a form was kept for the second look.
    request.__dict__.pop("_cached_data", None)
    refuse_lone_surrogates(content)
    return content


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


def refuse_lone_surrogates(content: Any) -> None:
    """Raise InvalidParameter for text that is not Unicode, naming its field: no answer could repeat it."""
    fields = content if isinstance(content, dict) else {"body": content}
    for name, value in fields.items():
        if not _is_unicode(name):
            raise InvalidParameter("The name of a field contains a lone surrogate, which is not Unicode.", param="body")
        if not _is_unicode(value):
            name = name[:MAX_NAME_CHARACTERS]
            raise InvalidParameter(f"{name} contains a lone surrogate, which is not Unicode text.", param=name)


def _is_unicode(value: Any) -> bool:
    match value:
        case str():
            # Python knows without a look at it; base64 is ASCII.
            return value.isascii() or _can_be_encoded(value)
        case list():
            return all(map(_is_unicode, value))
        case dict():
            return all(_is_unicode(name) and _is_unicode(each) for name, each in value.items())
    return True


def _can_be_encoded(text: str) -> bool:
    for start in range(0, len(text), ENCODED_CHARACTERS):
        if start:
            yield_to_others()
        try:
            text[start : start + ENCODED_CHARACTERS].encode()
        except UnicodeEncodeError:
            return False
    return True
