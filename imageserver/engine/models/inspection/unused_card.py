"""An NVIDIA card that the machine has and PyTorch does not see: the CPU serves then, as if there were no card."""

from pathlib import Path

import torch

from imageserver.protocol.finding import Finding
from imageserver.settings import Settings
from imageserver.settings.seat_devices import AUTO

PCI_DEVICES = Path("/sys/bus/pci/devices")
DRIVER = Path("/proc/driver/nvidia/version")
NVIDIA = "0x10de"
DISPLAY_CLASSES = ("0x0300", "0x0302")


def find_unused_card(settings: Settings, device: torch.device) -> Finding | None:
    """Return a warning that says what is missing, where the CPU serves only because nobody chose it; Linux alone."""
    is_chosen = settings.device != AUTO or settings.devices not in ("", AUTO)
    if device.type != "cpu" or is_chosen or not _has_card():
        return None
    if not DRIVER.exists():
        missing = "its driver is not loaded: install it, and restart the machine until nvidia-smi -L lists the card"
    elif torch.version.cuda is None:
        missing = "PyTorch is a build without CUDA: delete .venv and start again, which chooses the build by the card"
    else:
        missing = (
            f"the driver may be too old for CUDA {torch.version.cuda}, with which PyTorch was built, or this user may "
            "not open /dev/nvidia0; docs/troubleshooting.md says more"
        )
    return Finding("card", "warning", f"There is an NVIDIA card, which PyTorch does not see; {missing}.")


def _has_card() -> bool:
    for folder in PCI_DEVICES.glob("*"):
        try:
            vendor, kind = ((folder / name).read_text().strip() for name in ("vendor", "class"))
        except OSError:
            continue
        if vendor == NVIDIA and kind.startswith(DISPLAY_CLASSES):
            return True
    return False
