"""Find the tensors that a computation reads and did not make itself, which a captured one must keep alive.

A graph knows addresses only. Weights stay where they are, but diffusers keeps positions in caches of 128 sizes: the
129th size would free what the graph of the first still reads.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from imageserver.engine.capturing.call_values import tensors_in


class _Reads(TorchDispatchMode):
    """Collects the storages that operations read and that none of them has made."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.read: dict[int, torch.Tensor] = {}
        self._made: set[int] = set()

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(options or {})
        for tensor in tensors_in((arguments, given)):
            address = _address(tensor)
            if address not in self._made:
                self.read.setdefault(address, tensor)
        output = operation(*arguments, **given)
        self._made |= {_address(tensor) for tensor in tensors_in(output)} - self.read.keys()
        return output


def tensors_read(compute: Callable[[], Any]) -> tuple[torch.Tensor, ...]:
    """Compute, and return the tensors that existed before and were read."""
    with _Reads() as reads:
        compute()
    return tuple(reads.read.values())


def _address(tensor: torch.Tensor) -> int:
    """Return what identifies a tensor's memory; quantized weights have none of their own."""
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter)
    return tensor.untyped_storage().data_ptr() if plain else id(tensor)
