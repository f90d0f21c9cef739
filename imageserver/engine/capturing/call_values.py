"""The values of a denoiser call or of its result: nested lists, tuples and dicts of tensors and plain values."""

from collections.abc import Callable, Hashable, Iterator
from typing import Any

import torch

PLAIN = (type(None), bool, int, float, str, torch.dtype)


class NotCapturable(Exception):
    """A value that no captured forward can depend on, such as a cache that the call changes."""


def key_of(value: Any, device: torch.device) -> Hashable:
    """Return everything that launches depend on: the tensors' shapes and formats, and all plain values.

    Raises NotCapturable, also for tensors elsewhere: launches would repeat the content that they had.
    """
    if isinstance(value, PLAIN):
        return type(value).__name__, value
    if type(value) is torch.Tensor and value.device.type == device.type:
        return "tensor", tuple(value.shape), value.dtype
    if type(value) is dict:
        return "dict", tuple((name, key_of(each, device)) for name, each in value.items())
    if type(value) in (list, tuple):
        return type(value).__name__, tuple(key_of(each, device) for each in value)
    raise NotCapturable(f"a call with a {type(value).__name__}")


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in their order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from tensors_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_in(each)


def with_tensors(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Return the same values with every tensor changed; raises NotCapturable for what it does not know."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if type(value) is dict:
        return {name: with_tensors(each, change) for name, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(with_tensors(each, change) for each in value)
    if isinstance(value, PLAIN):
        return value
    raise NotCapturable(f"a result with a {type(value).__name__}")
