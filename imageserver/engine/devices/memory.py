"""How much memory is in use: the device's peak between two calls, and the tensors that are alive."""

import contextlib
import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from imageserver.engine.devices import devices

# Linux: `5` resets the high-water mark of a process's resident set. Source: proc_pid_clear_refs(5).
STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
HIGH_WATER = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)

# Returns the most bytes that were held since it was last called, weights included.
PeakMemory = Callable[[], int]


def peak_memory(device: torch.device) -> PeakMemory:
    """Return the meter of a device; if the device keeps no high-water mark, the meter returns the current use."""
    if hasattr(devices.module_of(device), "max_memory_allocated"):
        return lambda: _allocated_peak(device)
    if device.type == "cpu" and STATUS.exists() and CLEAR.exists():
        return _resident_peak
    return lambda: devices.used_memory(device)


def held_memory(device: torch.device) -> tuple[int, int]:
    """Return the bytes of the tensors on a device, and those that PyTorch keeps there from other programs."""
    module: Any = devices.module_of(device)
    reserved = devices.used_memory(device)
    if hasattr(module, "memory_allocated"):
        return int(module.memory_allocated(device)), reserved
    if hasattr(module, "current_allocated_memory"):
        return int(module.current_allocated_memory()), reserved
    return reserved, reserved


def live_tensors() -> dict[int, int]:
    """Return the bytes of every tensor's storage that is alive on any device, by its address."""
    # isinstance would load lazy modules among the objects.
    tensors = (thing for thing in gc.get_objects() if type(thing) is torch.Tensor)
    storages = (tensor.untyped_storage() for tensor in tensors)
    return {storage.data_ptr(): storage.nbytes() for storage in storages}


def bytes_of(tensor: torch.Tensor) -> int:
    """Return the bytes of a tensor; for a quantized one those of its inner tensors, whatever its nominal type."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return sum(bytes_of(getattr(tensor, name)) for name in names)
    return tensor.numel() * tensor.element_size()


def _allocated_peak(device: torch.device) -> int:
    module: Any = devices.module_of(device)
    # Not the reserved memory: PyTorch keeps it, so after one large job every later one would seem as large.
    peak = module.max_memory_allocated(device)
    module.reset_peak_memory_stats(device)
    return int(peak)


def _resident_peak() -> int:
    found = HIGH_WATER.search(STATUS.read_text(encoding="ascii"))
    # In a hardened container the mark only rises, and is still the most that was held.
    with contextlib.suppress(OSError):
        CLEAR.write_text("5", encoding="ascii")
    return int(found[1]) * 1024 if found else devices.used_memory(torch.device("cpu"))
