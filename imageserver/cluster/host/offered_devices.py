"""The devices that a machine offers when it joins a cluster, an engine each."""

import logging
import subprocess
import sys

from imageserver.settings import Settings
from imageserver.settings.seat_devices import AUTO, NONE, parse_seats

INVENTORY = "imageserver.engine.devices.inventory"

logger = logging.getLogger(__name__)


def offered_devices(settings: Settings) -> tuple[str, ...]:
    """Return those of DEVICES or DEVICE; where neither names one, every card, or what the engine chooses.

    NUM_WORKER_PROCESSES takes the first ones.
    """
    wanted = settings.num_worker_processes
    if settings.devices == NONE:
        return ()
    devices = _all_devices(settings)
    if wanted > len(devices):
        logger.warning("NUM_WORKER_PROCESSES=%d is more than there are: %s.", wanted, ", ".join(devices))
    return devices[: wanted or None]


def _all_devices(settings: Settings) -> tuple[str, ...]:
    if settings.devices not in ("", AUTO):
        return tuple("+".join(devices) for devices in parse_seats(settings.devices))
    if not settings.devices and settings.device != AUTO and settings.num_worker_processes <= 1:
        return (settings.device,)
    # In a process of its own: PyTorch would keep a part of each card for this one.
    found = subprocess.run([sys.executable, "-m", INVENTORY, settings.device], capture_output=True, text=True)
    # Where none can be found, the engine says why.
    return tuple(found.stdout.split()) or (settings.device,)
