"""The arguments of a denoiser call or its result, described for another process; the tensors travel beside it."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from imageserver.engine.card_group.described import (
    Described,
    DtypeValue,
    MappingValue,
    SequenceValue,
    TensorValue,
)


class NotTransferable(Exception):
    """A value that no other process can be given."""


def describe(value: Any, tensors: list[torch.Tensor]) -> Described:
    """Return the description of a value, and append its tensors in order; raises NotTransferable."""
    if type(value) is torch.Tensor:
        tensors.append(value)
        return TensorValue(tuple(value.shape), _name(value.dtype), value.device.type == "cpu")
    if isinstance(value, torch.dtype):
        return DtypeValue(_name(value))
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return MappingValue({name: describe(each, tensors) for name, each in value.items()})
    if type(value) in (list, tuple):
        return SequenceValue(type(value) is tuple, tuple(describe(each, tensors) for each in value))
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise NotTransferable(f"a {type(value).__name__}")


def rebuild(described: Described, receive: Callable[[TensorValue], torch.Tensor]) -> Any:
    """Return the value; `receive` is called for every tensor, in the order of `describe`."""
    match described:
        case TensorValue():
            return receive(described)
        case DtypeValue(name):
            return getattr(torch, name)
        case MappingValue(items):
            return {name: rebuild(each, receive) for name, each in items.items()}
        case SequenceValue(is_tuple, items):
            rebuilt = [rebuild(each, receive) for each in items]
            return tuple(rebuilt) if is_tuple else rebuilt
    return described


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
