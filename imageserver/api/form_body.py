"""Read a multipart form as the JSON body it stands for: every field arrives as text."""

import json
from typing import Any

from flask import request
from pydantic import BaseModel

from imageserver.errors import InvalidParameter

TRUTHS = {"true": True, "false": False, "null": None}


def is_form() -> bool:
    """Return whether the request's body is a form."""
    return request.mimetype in ("multipart/form-data", "application/x-www-form-urlencoded")


def read_form(model: type[BaseModel]) -> dict[str, Any]:
    """Return the form's fields with the types that `model` wants; fields that it does not know stay text.

    A field sent twice is an error naming it, unless the model does not know it: then its texts come as a list. Empty
    text stands for a field that was left out.
    """
    content: dict[str, Any] = {}
    for sent, values in request.form.lists():
        # werkzeug calls a part without any name None.
        name = sent or ""
        if len(values) > 1 and name not in model.model_fields:
            content[name] = values
        elif len(values) > 1:
            raise InvalidParameter(f"{ascii(name)[1:-1][:100]} was sent {len(values)} times.", param=name[:100])
        elif values[0] != "":
            content[name] = (
                _typed(values[0]) if name in model.model_fields and not _takes_text(model, name) else values[0]
            )
    return content


def _takes_text(model: type[BaseModel], name: str) -> bool:
    """Return whether the field is text in JSON, an optional one included."""
    annotation = model.model_fields[name].annotation
    allowed = getattr(annotation, "__args__", (annotation,))
    return any(kind is str or isinstance(kind, str) for kind in allowed)


def _typed(text: str) -> Any:
    """Return the number or truth that the text spells, or the text; validation names what is wrong with that."""
    lowered = text.strip().lower()
    if lowered in TRUTHS:
        return TRUTHS[lowered]
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float | list | dict) else text
