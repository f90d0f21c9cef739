"""Convert a form, whose fields all arrive as text, into the equivalent JSON body.

pydantic's own `model_validate_strings` does not fit here: it reads no lists, and takes "yes" and "1" for true.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any, get_args

from flask import request
from pydantic import BaseModel

from imageserver.api.inputs import bounded_json
from imageserver.api.inputs.bounded_json import InvalidJSON
from imageserver.api.inputs.form_parser import is_json
from imageserver.api.inputs.json_body import FORM, read_body
from imageserver.api.inputs.validation import is_blank, own_names
from imageserver.errors import BadRequest, InvalidParameter

MULTIPART = "multipart/form-data"
# Python's clients send str(True).
CONSTANTS = {"true": True, "false": False, "null": None}
MAX_CONSTANT_CHARACTERS = 100
NO_NAMES: Mapping[str, str] = {}
# How the openai SDK writes a field of the objects in a list.
LIST_ITEM_FIELD = re.compile(r"(\w+)\[\]\[(\w+)\]", re.ASCII)


def is_form() -> bool:
    """Return whether the body is a form; raises BadRequest where the header says so twice, and no boundary counts."""
    if request.mimetype == FORM:
        return not is_json(read_body())
    if request.mimetype != MULTIPART and MULTIPART in request.mimetype:
        raise BadRequest(f"The Content-Type names more than one type; a form needs {MULTIPART} alone, with a boundary.")
    return request.mimetype == MULTIPART


def read_form(model: type[BaseModel], names: Mapping[str, str] = NO_NAMES) -> dict[str, Any]:
    """Return the form's fields as `model` has them in JSON; fields that are not in the model stay text.

    `names` are other names that its fields may have, each with its own.

    A field sent twice is an error that names it, unless it is not in the model: then its texts become a list. A blank
    text counts as an omitted field. `loras[][name]` and `loras[][scale]` make the list `loras`.
    """
    content: dict[str, Any] = {}
    columns: dict[str, dict[str, list[Any]]] = {}
    sent = {name: values for name, values in request.form.lists() if len(values) > 1 or not is_blank(values[0])}
    own = own_names(sent, names)
    for other, values in sent.items():
        name = own[other]
        nested = LIST_ITEM_FIELD.fullmatch(name)
        if nested and (item := _item_model(model, nested[1])):
            columns.setdefault(nested[1], {})[nested[2]] = [_value_of(item, nested[2], text) for text in values]
        elif len(values) > 1 and name not in model.model_fields:
            content[name] = values
        elif len(values) > 1:
            raise InvalidParameter(f"{ascii(name)[1:-1][:100]} was sent {len(values)} times.", param=name[:100])
        else:
            content[name] = _value_of(model, name, values[0])
    return content | {name: _objects(name, fields) for name, fields in columns.items()}


def _objects(name: str, columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Collect the separately sent fields of objects into a list."""
    if len({len(values) for values in columns.values()}) > 1:
        raise InvalidParameter(
            f"{name}: the objects of this list have different fields, which a form cannot express; send every field "
            "for each object, or send JSON.",
            param=name,
        )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _item_model(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Return the model of the objects in a list field; None for every other field."""
    annotation = model.model_fields[name].annotation if name in model.model_fields else None
    for kind in (annotation, *get_args(annotation)):
        items = get_args(kind)
        # A list may hold texts as well.
        for item in (*items, *itertools.chain.from_iterable(map(get_args, items))):
            if isinstance(item, type) and issubclass(item, BaseModel):
                return item
    return None


def _value_of(model: type[BaseModel], name: str, text: str) -> Any:
    """Return the text itself where JSON has text too, otherwise the JSON that it spells; validation does the rest."""
    if name not in model.model_fields or _is_text(model.model_fields[name].annotation):
        return text
    # Of a file as text, a copy takes 10 ms.
    lowered = text.strip().lower() if len(text) < MAX_CONSTANT_CHARACTERS else ""
    if lowered in CONSTANTS:
        return CONSTANTS[lowered]
    try:
        value = bounded_json.parse(text)
    except InvalidJSON:
        return text
    except BadRequest as error:
        raise BadRequest(f"{name}: {error.sentence}", param=name) from None
    return text if value is None or isinstance(value, str) else value


def _is_text(annotation: Any) -> bool:
    """Return whether a field may be text in JSON: a `str`, a choice of words, or one of these among other types."""
    return any(kind is str or isinstance(kind, str) for kind in get_args(annotation) or (annotation,))
