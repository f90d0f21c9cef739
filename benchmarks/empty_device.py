"""A device that takes what it is sent and keeps nothing, so that a process holds only what loading itself holds.

PyTorch calls it `sink:0`. Made from Python, through its entry for new kinds of devices; a process that has opened
it keeps it.
"""

from typing import Any

import torch
from torch.utils import backend_registration


class EmptyModule:
    """What PyTorch expects of the module of a kind of device."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return []

    def _is_in_bad_fork(self) -> bool:
        return False


def open_device() -> torch.device:
    """Register the device in this process and return it."""
    backend_registration._setup_privateuseone_for_python_backend("sink", backend_module=EmptyModule())
    library = torch.library.Library("aten", "IMPL")
    library.impl("empty.memory_format", _empty, "PrivateUse1")
    library.impl("empty_strided", _empty_strided, "PrivateUse1")
    library.impl("_copy_from", _copy_from, "PrivateUse1")
    # The registration lasts as long as the library.
    EmptyModule.library = library  # type: ignore[attr-defined]
    return torch.device("sink", 0)


def _empty(size: Any, *, dtype: torch.dtype | None = None, **_: Any) -> torch.Tensor:
    empty: torch.Tensor = torch._C._acc.create_empty_tensor(list(size), dtype or torch.float32)
    return empty


def _empty_strided(size: Any, stride: Any, *, dtype: torch.dtype | None = None, **_: Any) -> torch.Tensor:
    return _empty(size, dtype=dtype)


def _copy_from(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    if source.device.type == "cpu" and source.numel():
        # As a real copy reads every byte, which brings it from the file into memory.
        source.detach().contiguous().view(-1).view(torch.uint8).max()
    return target
