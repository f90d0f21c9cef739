"""Numbers and switches that clients send as text: AUTOMATIC1111 takes "20" for 20 and "true" for true.

Source: stable-diffusion-webui 1.10, whose bodies are models of pydantic 1.
"""

import re
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from imageserver.api.inputs.validation import BLANKS, MAX_BLANKS, NULL, blanks_left_out, is_blank

NUMBER = r"-?[0-9]{1,20}(\.[0-9]{1,20})?"
SWITCHES = {"true": True, "True": True, "false": False, "False": False}
# By the types of JSON Schema, the first that a field has.
PATTERNS = {"boolean": "true|True|false|False|0|1", "number": NUMBER, "integer": "-?[0-9]{1,20}"}


def with_numbers(model: type[BaseModel], content: dict[str, Any]) -> dict[str, Any]:
    """Return the body with its numbers and switches as such; a blank text for one is as if it were left out."""
    numeric = _numeric_fields(model)
    return {
        name: as_number(value) if name in numeric else value
        for name, value in content.items()
        if not (name in numeric and is_blank(value))
    }


def numeric_texts(schema: dict[str, Any]) -> None:
    """Document that every number and switch may be sent as text, and every optional field as null."""
    required = schema.get("required", ())
    for name, part in schema["properties"].items():
        annotations = {key: part.pop(key) for key in ("description", "default", "title") if key in part}
        options = part.get("anyOf", [part])
        kinds = {option.get("type") for option in options}
        pattern = next((pattern for kind, pattern in PATTERNS.items() if kind in kinds), "")
        text = {"type": "string", "pattern": f"^[{BLANKS}]*({pattern})?[{BLANKS}]*$"}
        texts = [text] if pattern and "string" not in kinds else []
        further = [*texts, *([] if name in required else [NULL])]
        schema["properties"][name] = {
            "anyOf": [*options, *(dict(each) for each in further if each not in options)],
            **annotations,
        }


def texts_and_blanks(schema: dict[str, Any]) -> None:
    """Document the same, and that every other optional field may be blank, for a model that is a `BlanksLeftOut`."""
    numeric_texts(schema)
    blanks_left_out(schema)


def as_number(value: Any) -> Any:
    """Return the number or switch that a text stands for; any other value, a long text too, as it is."""
    if not isinstance(value, str) or len(value) > MAX_BLANKS:
        return value
    text = value.strip(BLANKS)
    if text in SWITCHES:
        return SWITCHES[text]
    if not re.fullmatch(NUMBER, text):
        return value
    return float(text) if "." in text else int(text)


@cache
def _numeric_fields(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(
        name
        for name, field in model.model_fields.items()
        if not _types(field.annotation).isdisjoint({int, float, bool})
    )


def _types(annotation: Any) -> set[Any]:
    """Return the types in an annotation, those of unions and annotated ones too; a text among them decides itself."""
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)} - {str}
    inner = [part for part in get_args(annotation) if isinstance(part, type) or get_args(part)]
    found = {annotation}.union(*(_types(part) for part in inner))
    return set() if str in found else found
