"""Which device computes, what it is called and how much memory it has."""

import platform

import psutil
import torch

MIB = 1024 * 1024


class DeviceUnavailable(Exception):
    """The device that was asked for is not there; the message is one sentence for the user."""


def choose(name: str) -> torch.device:
    """Return the device `name` stands for, `auto` being the best one; raises DeviceUnavailable."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DeviceUnavailable(f"DEVICE={name} cannot be used: {reason}") from error
    return device


def gpu_name(device: torch.device) -> str:
    """Return the device's product name; on a CPU simply `CPU`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "CPU" if device.type == "cpu" else f"{device.type.upper()} ({platform.machine()})"


def cuda_version(device: torch.device) -> str:
    """Return the CUDA or ROCm version, or N/A."""
    if device.type != "cuda":
        return "N/A"
    return torch.version.cuda or torch.version.hip or "N/A"


def free_memory(device: torch.device) -> int:
    """Return the bytes that can still be taken: the card's own, or the machine's."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)


def used_memory(device: torch.device) -> int:
    """Return the bytes that this process holds on the device."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    return int(psutil.Process().memory_info().rss)
