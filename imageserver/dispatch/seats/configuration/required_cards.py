"""Refuses a start on cards that this machine does not have."""

import subprocess
import sys

from imageserver.dispatch.seats.configuration.card_count import INVENTORY, INVENTORY_SECONDS
from imageserver.settings import WORKING_DIR, Settings
from imageserver.settings.seat_devices import AUTO, NONE, parse_seats


def require_cards(settings: Settings) -> None:
    """Exit with one sentence where DEVICES names a card that is not there; what cannot be counted is let pass.

    PyTorch counts the cards, which takes a few seconds; a list of CPUs needs no count.
    """
    if settings.devices in ("", AUTO, NONE):
        return
    named = {device for seat in parse_seats(settings.devices) for device in seat if ":" in device}
    for kind in sorted({device.partition(":")[0] for device in named}):
        found = _cards(kind)
        missing = sorted(device for device in named if device.startswith(f"{kind}:") and device not in found)
        if missing:
            there = ", ".join(found) or f"no {kind} device"
            raise SystemExit(f"DEVICES={settings.devices} names {missing[0]}, but this machine has {there}.")


def _cards(kind: str) -> list[str]:
    ended = subprocess.run(
        [sys.executable, "-m", INVENTORY, kind],
        capture_output=True, text=True, cwd=WORKING_DIR, timeout=INVENTORY_SECONDS, check=False,
    )  # fmt: skip
    return ended.stdout.split() if ended.returncode == 0 else []
