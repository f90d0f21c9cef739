"""Copy and compare the arguments of denoiser calls."""

from collections.abc import Mapping
from typing import Any

import torch

# What is compared by its value; of anything else only the same object counts.
PLAIN = (bool, int, float, str, torch.dtype, torch.device)


def copied(value: Any) -> Any:
    """Return a copy of the containers with the same tensors: pipelines reuse one dictionary for both calls."""
    if isinstance(value, Mapping):
        return {name: copied(each) for name, each in value.items()}
    return type(value)(map(copied, value)) if type(value) in (list, tuple) else value


def same(one: Any, other: Any) -> bool:
    """Return whether two arguments are the same: one object, or equal content in equal containers.

    Comparing two tensors waits for their device.
    """
    if one is other:
        return True
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        alike = (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
        return alike and torch.equal(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        # The pipeline of Qwen-Image's ControlNet leaves `guidance` out of one call and passes None in the other.
        return all(same(one.get(name), other.get(name)) for name in {**one, **other})
    if type(one) in (list, tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and isinstance(one, PLAIN) and bool(one == other)


def versions(value: Any) -> list[int]:
    """Return how often each tensor was written to: the same object may have other content by now."""
    if isinstance(value, torch.Tensor):
        return [0 if value.is_inference() else value._version]
    inside = value.values() if isinstance(value, Mapping) else value if type(value) in (list, tuple) else ()
    return [version for each in inside for version in versions(each)]
