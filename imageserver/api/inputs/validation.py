"""Check what a client sent against a model, and say in one sentence what is wrong with it."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from imageserver.errors import InvalidParameter

M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], content: Any, *, as_text: bool = False) -> M:
    """Return the content as a model; raises InvalidParameter naming the first wrong field and its limit.

    With `as_text` every value is text, as in a query, and stands for the number or the boolean that it spells.
    """
    try:
        return model.model_validate_strings(content) if as_text else model.model_validate(content)
    except ValidationError as error:
        raise _explain(error, model) from None


def without_nulls(content: dict[str, Any]) -> dict[str, Any]:
    """Return what was said: many clients send null for what they leave open."""
    return {name: value for name, value in content.items() if value is not None}


def nullable(schema: dict[str, Any]) -> None:
    """Let the API's document say that a field may be null, which stands for its default.

    For `json_schema_extra` of a model whose nulls are left out before it is validated.
    """
    for name in schema["properties"].keys() - set(schema.get("required", ())):
        part = schema["properties"][name]
        told = {key: part.pop(key) for key in ("description", "default", "title") if key in part}
        options = part.get("anyOf", [part])
        # What may be anything may be null too.
        if {} not in options and {"type": "null"} not in options:
            options = [*options, {"type": "null"}]
        schema["properties"][name] = {"anyOf": options, **told}


def shown(value: Any) -> str:
    """Return a short, printable image of what a client sent."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _explain(error: ValidationError, model: type[BaseModel]) -> InvalidParameter:
    first = error.errors(include_url=False, include_context=False)[0]
    place, wrong = first["loc"], first["type"]
    # An object in a list: what is wrong with it stands in one of its fields, and other types' names do not follow.
    in_list = len(place) > 2 and isinstance(place[1], int)
    name = f"{place[0]}[{place[1]}].{place[2]}" if in_list else str(place[0]) if place else "body"
    if wrong == "extra_forbidden":
        known = "" if in_list else f"; known are {', '.join(model.model_fields)}"
        return InvalidParameter(f"{shown(name)} is not a parameter{known}.", param=name[:100])
    if wrong == "missing":
        return InvalidParameter(f"{name} is required.", param=name)
    message = first["msg"][0].lower() + first["msg"][1:]
    if wrong == "model_type":
        message = "input should be a JSON object"
    return InvalidParameter(f"{name}: {message} (got {shown(first['input'])}).", param=name)
