"""Validate client input against a pydantic model, and explain a mistake in one sentence."""

import itertools
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from flask import request
from pydantic import BaseModel, ValidationError, model_validator

from imageserver.errors import InvalidParameter

M = TypeVar("M", bound=BaseModel)

MAX_SHOWN = 60
MAX_NAME_CHARACTERS = 100
# What counts as blank, for Python and in JSON Schema.
BLANKS = " \t\r\n"
MAX_BLANKS = 10_000
NULL = {"type": "null"}
BLANK_TEXT = {"type": "string", "pattern": r"^[ \t\r\n]*$"}


class BlanksLeftOut(BaseModel):
    """A body whose optional fields may be blank texts, which count as left out: forms of other programs send them."""

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if not (is_blank(value) and _is_omittable(cls, name))}


def validated(model: type[M], content: Any) -> M:
    """Return the content as a model; raises InvalidParameter naming the first wrong field and its limit."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _explain(error, model) from None


def read_query(model: type[M]) -> M:
    """Return the query as a model; its values are text: "20" is a number and "true" a boolean."""
    try:
        return model.model_validate_strings(request.args.to_dict())
    except ValidationError as error:
        raise _explain(error, model) from None


def without_nulls(content: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that are not null: many clients send null for a field that they leave out."""
    return {name: value for name, value in content.items() if value is not None}


def is_blank(value: Any) -> bool:
    """Return whether a value is a short text without any visible character; 32 MiB of blanks would take 0.5 s."""
    return isinstance(value, str) and len(value) <= MAX_BLANKS and not value.strip(BLANKS)


def without_blanks(content: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that are neither null nor blank: forms of other programs send "" for what is not filled in."""
    return {name: value for name, value in without_nulls(content).items() if not is_blank(value)}


def _is_omittable(model: type[BaseModel], name: str) -> bool:
    """Return whether a blank text for a field means nothing; a prompt that is blank by default may be blank."""
    field = model.model_fields.get(name)
    return field is not None and not field.is_required() and not is_blank(field.default)


def with_own_names(content: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields under our names instead of those that other programs have for them, the keys of `names`."""
    own = own_names(content, names)
    return {own[name]: value for name, value in content.items()}


def own_names(sent: Collection[str], names: Mapping[str, str]) -> dict[str, str]:
    """Return our name of each field that was sent.

    Where ours was sent too, or another field has it already, one keeps its own, so that a warning or an error names it.
    """
    taken = set(sent)
    own: dict[str, str] = {}
    for name in sent:
        ours = names.get(name, name)
        own[name] = name if ours in taken else ours
        taken.add(ours)
    return own


def nullable(schema: dict[str, Any]) -> None:
    """Document that every optional field may be null, which means its default.

    For `json_schema_extra` of a model whose nulls are removed before validation.
    """
    _add_options(schema, NULL)


def blanks_left_out(schema: dict[str, Any]) -> None:
    """Document that every optional field may be blank, for a model that is a `BlanksLeftOut`."""
    _add_options(schema, BLANK_TEXT)


def omittable(schema: dict[str, Any]) -> None:
    """Document that every optional field may be null or blank, like `nullable`; for `without_blanks`."""
    _add_options(schema, NULL, BLANK_TEXT)


def _add_options(schema: dict[str, Any], *further: dict[str, Any]) -> None:
    for name in schema["properties"].keys() - set(schema.get("required", ())):
        part = schema["properties"][name]
        annotations = {key: part.pop(key) for key in ("description", "default", "title") if key in part}
        options = part.get("anyOf", [part])
        # A field of any type may be both already.
        if {} not in options:
            options = [*options, *(dict(each) for each in further if each not in options)]
        schema["properties"][name] = {"anyOf": options, **annotations}


def shown(value: Any) -> str:
    """Return a short, printable form of what a client sent."""
    text = ascii(_beginning(value))
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def _beginning(value: Any) -> Any:
    """Return more of a value than is shown, but not all: to write 32 MiB out takes 0.1 s."""
    match value:
        case str():
            return value[:MAX_SHOWN]
        case list():
            return [_beginning(each) for each in value[:MAX_SHOWN]]
        case dict():
            return {_beginning(name): _beginning(each) for name, each in itertools.islice(value.items(), MAX_SHOWN)}
    return value


def _explain(error: ValidationError, model: type[BaseModel]) -> InvalidParameter:
    first = error.errors(include_url=False, include_context=False)[0]
    location = [part[:MAX_NAME_CHARACTERS] if isinstance(part, str) else part for part in first["loc"]]
    kind = first["type"]
    # In an object in a list, name its field; what follows in other locations are names of types.
    in_list = len(location) > 2 and isinstance(location[1], int)
    name = f"{location[0]}[{location[1]}].{location[2]}" if in_list else str(location[0]) if location else "body"
    name = name[:MAX_NAME_CHARACTERS]
    if kind == "extra_forbidden":
        known = "" if in_list else f"; known are {', '.join(model.model_fields)}"
        return InvalidParameter(f"{shown(name)} is not a parameter{known}.", param=name)
    if kind == "missing":
        return InvalidParameter(f"{name} is required.", param=name)
    message = first["msg"][0].lower() + first["msg"][1:]
    if kind == "model_type":
        message = "input should be a JSON object"
    field = model.model_fields.get(name)
    if kind == "string_pattern_mismatch" and field is not None and field.description:
        # Nobody reads a regular expression.
        return InvalidParameter(f"{name}: {shown(first['input'])} does not fit. {field.description}", param=name)
    return InvalidParameter(f"{name}: {message} (got {shown(first['input'])}).", param=name)
