"""The seats that DEVICES names: each is one engine, on one device or on a group of devices that share an image."""

import re
from collections import Counter

AUTO, NONE = "auto", "none"
# As PyTorch names them: a kind, and the number of a card; a CPU and Apple's GPU have none.
DEVICE = re.compile(r"(cuda|xpu|npu)(:\d{1,3})?|cpu|mps")

# The devices of one engine.
SeatDevices = tuple[str, ...]


def parse_seats(text: str) -> tuple[SeatDevices, ...]:
    """Return the devices of each seat in a list such as `cuda:0,cuda:1+cuda:2`; raises ValueError with a sentence.

    `cuda` means `cuda:0`. A CPU may be named several times, a card may not.
    """
    seats = tuple(_parse_group(entry.strip()) for entry in text.split(","))
    cards = Counter(device for seat in seats for device in seat if device != "cpu")
    for card, count in cards.items():
        if count > 1:
            raise ValueError(f"{card} is named {count} times; a card serves one engine")
    return seats


def checked_devices(text: str) -> str:
    """Return the setting as it is; raises ValueError with a sentence."""
    if text not in ("", AUTO, NONE):
        parse_seats(text)
    return text


def _parse_group(entry: str) -> SeatDevices:
    if "+" not in entry:
        return (_parse_device(entry),)
    members = [member.strip() for member in entry.split("+")]
    if len([member for member in members if member]) < 2:
        raise ValueError(f"{entry!r} is a group of one; a group joins two devices or more, such as cuda:0+cuda:1")
    group = tuple(map(_parse_device, members))
    if len({device.partition(":")[0] for device in group}) > 1:
        raise ValueError(f"{entry!r} joins devices of several kinds; a group needs one kind")
    return group


def _parse_device(name: str) -> str:
    match = DEVICE.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is not a device; a device is cpu, cuda:0, xpu:0, npu:0 or mps")
    kind, number = match[1], match[2]
    return f"{kind}:{int(number[1:]) if number else 0}" if kind else name
