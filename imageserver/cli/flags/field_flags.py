"""Flags for the fields of a model: each has the field's name, its sentence, its type and its limits."""

import argparse
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from imageserver.cli.flags.parser import CommandParser


def add_fields(
    parser: CommandParser, model: type[BaseModel], *, shown: Collection[str], left_out: Collection[str] = (),
    also: Mapping[str, tuple[str, ...]] | None = None,
) -> None:  # fmt: skip
    """Add a flag for each field of a model; the help shows those `shown`, and `also` has further names of a flag.

    A flag that is not given leaves nothing in the options, so that defaults stay with whoever reads them.
    """
    for name, information in model.model_fields.items():
        if name not in left_out:
            action = _add_flag(parser, name, information, (also or {}).get(name, ()))
            if name not in shown:
                parser.add_minor(action)


def given_fields(options: argparse.Namespace, model: type[BaseModel]) -> dict[str, Any]:
    """Return the values of the fields whose flags were given."""
    return {name: value for name, value in vars(options).items() if name in model.model_fields}


def _add_flag(parser: CommandParser, name: str, information: FieldInfo, also: tuple[str, ...]) -> argparse.Action:
    flag = f"--{name.replace('_', '-')}"
    names = [*also, flag]
    kind = _plain(information.annotation)
    described: dict[str, Any] = {
        "dest": name, "default": argparse.SUPPRESS, "help": (information.description or "").replace("%", "%%"),
    }  # fmt: skip
    if kind is bool:
        return parser.add_argument(*names, action=argparse.BooleanOptionalAction, **described)
    if typing.get_origin(kind) is Literal:
        return parser.add_argument(*names, choices=typing.get_args(kind), **described)
    return parser.add_argument(*names, type=_reader(information), metavar=_placeholder(kind), **described)


def _plain(annotation: Any) -> Any:
    """Return the type of a field without its limits, and without None."""
    if typing.get_origin(annotation) is Annotated:
        return _plain(typing.get_args(annotation)[0])
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        kinds = [_plain(each) for each in typing.get_args(annotation) if each is not type(None)]
        # Some clients of the API send a switch as a number.
        return kinds[0] if len(kinds) == 1 else bool if bool in kinds else annotation
    return annotation


def _placeholder(kind: Any) -> str:
    return "JSON" if _is_list(kind) else {int: "N", float: "X"}.get(kind, "TEXT")


def _is_list(kind: Any) -> bool:
    return typing.get_origin(kind) is list


def _reader(information: FieldInfo) -> Callable[[str], Any]:
    """Return a function that reads a flag's text as the field would; a wrong one is refused with pydantic's words.

    A list is read from JSON, and returned as what JSON has.
    """
    kind: Any = information.annotation
    if information.metadata:
        kind = Annotated[kind, *information.metadata]
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    from_json = _is_list(_plain(information.annotation))

    def read(text: str) -> Any:
        try:
            if from_json:
                return adapter.dump_python(adapter.validate_json(text), mode="json", exclude_unset=True)
            return adapter.validate_python(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error.errors()[0]['msg']}") from None

    return read
