"""The device: its choice, its name and its memory. The only module that knows the kinds of devices.

Every accelerator of PyTorch brings a module of its own (`torch.cuda`, also for ROCm, `torch.xpu`, `torch.npu`,
`torch.mps`) with nearly the same functions; a CPU has none.
"""

import contextlib
import importlib
import platform
from types import ModuleType
from typing import Any

import psutil
import torch

from imageserver import ram

MIB = 1024 * 1024

# In the order in which DEVICE=auto looks for them.
ACCELERATORS = ("cuda", "xpu", "npu", "mps")
# Packages that add a kind of device to PyTorch when they are imported.
ADD_ONS = {"npu": "torch_npu"}


class DeviceUnavailable(Exception):
    """The requested device is missing; the message is one sentence for the user."""


def choose(name: str) -> torch.device:
    """Return the device called `name`, with its number, or the best one for `auto`; raises DeviceUnavailable."""
    if name == "auto":
        kind = next((kind for kind in ACCELERATORS if _is_available(kind)), "cpu")
        return torch.device(kind) if kind in ("cpu", "mps") else torch.device(kind, 0)
    try:
        _import_add_on(name.partition(":")[0])
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (ImportError, RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DeviceUnavailable(f"DEVICE={name} cannot be used: {reason}") from error
    return _numbered(device)


def module_of(device: torch.device) -> ModuleType | None:
    """Return PyTorch's module for the device's kind; None for a CPU."""
    return getattr(torch, device.type, None) if device.type in ACCELERATORS else None


def all_of_kind(device: torch.device) -> list[torch.device]:
    module = module_of(device)
    if module is None or not hasattr(module, "device_count"):
        return [device]
    return [torch.device(device.type, index) for index in range(module.device_count())]


def is_accelerator(device: torch.device) -> bool:
    """Return whether the device has memory of its own, or computes beside the CPU."""
    return module_of(device) is not None


def gpu_name(device: torch.device) -> str:
    module = module_of(device)
    if module is None:
        return "CPU"
    if hasattr(module, "get_device_name"):
        return str(module.get_device_name(device))
    return f"{device.type.upper()} ({platform.machine()})"


def cuda_version(device: torch.device) -> str:
    """Return the CUDA or ROCm version, or N/A."""
    if device.type != "cuda":
        return "N/A"
    return torch.version.cuda or torch.version.hip or "N/A"


def make_current(device: torch.device) -> None:
    """Make a device the calling thread's default.

    With DEVICE=cuda:1, pinned memory and some kernels would otherwise take 500 MB of the first card.
    """
    module = module_of(device)
    if module is not None and hasattr(module, "set_device"):
        module.set_device(device)


def computes_bfloat16(device: torch.device) -> bool:
    """Return whether the device computes in bfloat16 itself; CUDA cards before Ampere emulate it, slowly."""
    if device.type not in ("cuda", "xpu"):
        return is_accelerator(device)
    module: Any = module_of(device)
    with module.device(device):
        return bool(module.is_bf16_supported(including_emulation=False))


def compute_capability(device: torch.device) -> tuple[int, int]:
    """Return the generation of an NVIDIA card, (0, 0) for anything else."""
    if device.type != "cuda" or torch.version.hip:
        return 0, 0
    return torch.cuda.get_device_capability(device)


def shares_memory(device: torch.device) -> bool:
    """Return whether the device's memory is the machine's, so that nothing can be moved out of it."""
    return device.type in ("cpu", "mps")


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on the device, or in the machine where they share memory.

    What PyTorch has cached counts as free: the driver has given it to this process, which will use it first.
    """
    module = module_of(device)
    if module is not None and hasattr(module, "mem_get_info"):
        return int(module.mem_get_info(device)[0]) + _cached_memory(module, device)
    available = ram.measure().available
    if module is not None and hasattr(module, "recommended_max_memory"):
        # Apple's devices share the machine's memory, up to a limit of their own.
        held = int(module.current_allocated_memory())
        cached = int(module.driver_allocated_memory()) - held
        return min(available + cached, int(module.recommended_max_memory()) - held)
    return available


def used_memory(device: torch.device) -> int:
    """Return the bytes that this process holds on the device."""
    module = module_of(device)
    if module is None:
        return int(psutil.Process().memory_info().rss)
    if hasattr(module, "memory_reserved"):
        return int(module.memory_reserved(device))
    return int(module.driver_allocated_memory())


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its queue; a CPU has none."""
    module = module_of(device)
    if module is None:
        return
    if device.type == "cuda":
        # Sleeps meanwhile; the module's own way spins on a core, which the server's other processes need too. It waits
        # for this thread's work only, not for weights that another stream fetches.
        event = module.Event(blocking=True)
        event.record(module.current_stream(device))
        event.synchronize()
    elif device.type == "mps":
        module.synchronize()
    else:
        module.synchronize(device)


def release_cached(device: torch.device) -> None:
    """Return the memory that PyTorch has cached to the device."""
    module = module_of(device)
    if module is not None:
        module.empty_cache()


def _cached_memory(module: ModuleType, device: torch.device) -> int:
    if not hasattr(module, "memory_allocated"):
        return 0
    return int(module.memory_reserved(device)) - int(module.memory_allocated(device))


def _numbered(device: torch.device) -> torch.device:
    """Return the card that a kind alone means, the current one: PyTorch makes no card current without its number."""
    module = module_of(device)
    if device.index is not None or module is None or not hasattr(module, "current_device"):
        return device
    return torch.device(device.type, module.current_device())


def _is_available(kind: str) -> bool:
    with contextlib.suppress(ImportError, RuntimeError):
        _import_add_on(kind)
    if kind == "mps":
        return torch.backends.mps.is_available()
    module = getattr(torch, kind, None)
    return module is not None and bool(module.is_available())


def _import_add_on(kind: str) -> None:
    """Import the package that adds a kind of device; raises ImportError where it is not installed."""
    if kind in ADD_ONS:
        importlib.import_module(ADD_ONS[kind])
