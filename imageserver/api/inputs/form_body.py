"""Read a multipart form as the JSON body it stands for: every field arrives as text."""

import json
import re
from typing import Any, get_args

from flask import request
from pydantic import BaseModel

from imageserver.api.inputs.json_body import refuse_if_unwieldy
from imageserver.errors import BadRequest, InvalidParameter

# As many as werkzeug takes of a multipart form.
MAX_FIELDS = 1000
TRUTHS = {"true": True, "false": False, "null": None}
# How the openai SDK writes a field of the objects in a list.
IN_A_LIST = re.compile(r"(\w+)\[\]\[(\w+)\]", re.ASCII)


def is_form() -> bool:
    """Return whether the request's body is a form."""
    return request.mimetype in ("multipart/form-data", "application/x-www-form-urlencoded")


def read_form(model: type[BaseModel]) -> dict[str, Any]:
    """Return the form's fields with the types that `model` wants; fields that it does not know stay text.

    A field sent twice is an error naming it, unless the model does not know it: then its texts come as a list. Empty
    text stands for a field that was left out. `loras[][name]` and `loras[][scale]` make the list `loras`.
    """
    if len(request.form) > MAX_FIELDS:
        raise BadRequest(f"The form has more than {MAX_FIELDS} fields.")
    content: dict[str, Any] = {}
    columns: dict[str, dict[str, list[Any]]] = {}
    for sent, values in request.form.lists():
        # werkzeug calls a part without any name None.
        name = sent or ""
        nested = IN_A_LIST.fullmatch(name)
        if nested and (item := _item_model(model, nested[1])):
            columns.setdefault(nested[1], {})[nested[2]] = [_read(item, nested[2], value) for value in values]
        elif len(values) > 1 and name not in model.model_fields:
            content[name] = values
        elif len(values) > 1:
            raise InvalidParameter(f"{ascii(name)[1:-1][:100]} was sent {len(values)} times.", param=name[:100])
        elif values[0] != "":
            content[name] = _read(model, name, values[0])
    return content | {name: _objects(name, parts) for name, parts in columns.items()}


def _objects(name: str, columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Return the list whose fields were sent one by one."""
    if len({len(values) for values in columns.values()}) > 1:
        raise InvalidParameter(
            f"{name}: a form cannot tell which of them leaves a field out; send every field of each, or JSON.",
            param=name,
        )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _item_model(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Return what the list in a field consists of, None where it is no list of objects."""
    annotation = model.model_fields[name].annotation if name in model.model_fields else None
    for kind in (annotation, *get_args(annotation)):
        for item in get_args(kind):
            if isinstance(item, type) and issubclass(item, BaseModel):
                return item
    return None


def _read(model: type[BaseModel], name: str, text: str) -> Any:
    return _typed(text) if name in model.model_fields and not _takes_text(model, name) else text


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
    except (ValueError, RecursionError):
        return text
    refuse_if_unwieldy(value)
    return value if isinstance(value, int | float | list | dict) else text
