"""The description of a value for another process, without the content of its tensors."""

from typing import Union

import msgspec


class TensorValue(msgspec.Struct, frozen=True, tag="tensor"):
    """A tensor without its content; `on_host` says that it lies in the host's memory, whatever the device is."""

    shape: tuple[int, ...]
    dtype: str
    on_host: bool


class DtypeValue(msgspec.Struct, frozen=True, tag="dtype"):
    """A number format."""

    name: str


class SequenceValue(msgspec.Struct, frozen=True, tag="sequence"):
    """A list or a tuple."""

    is_tuple: bool
    items: "tuple[Described, ...]"


class MappingValue(msgspec.Struct, frozen=True, tag="mapping"):
    """A dictionary with names as keys."""

    items: "dict[str, Described]"


Described = Union[None, bool, int, float, str, TensorValue, DtypeValue, SequenceValue, MappingValue]  # noqa: UP007
