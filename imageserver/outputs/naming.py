"""The names of saved images, which distinguish them from other files in the folder."""

import re
from datetime import datetime

PREFIX = "Qwen-Image"
STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
IMAGE = re.compile(rf"{PREFIX}-\d{{8}}_\d{{6}}-req\d+(-\d+)*\.(png|jpg|jpeg|webp|zip)", re.ASCII)
MOMENT = re.compile(rf"{PREFIX}-(\d{{8}}_\d{{6}})-", re.ASCII)
UNFINISHED = re.compile(rf"\.{PREFIX}-[0-9a-f]{{32}}\.part")


def file_stem(when: datetime, request_id: int, index: int | None = None) -> str:
    """Return the documented name without its extension, with `index` where a request makes several images.

    Every model, including the demo, has the documented prefix: clients look for it, and retention depends on it.
    """
    stem = f"{PREFIX}-{when:%Y%m%d_%H%M%S}-req{request_id}"
    return stem if index is None else f"{stem}-{index}"


def numbered(stem: str, number: int, extension: str) -> str:
    """Return the file name of the first, second, … image with this stem; raises ValueError for an unusable stem."""
    if not STEM.fullmatch(stem):
        raise ValueError(f"{stem!r} is not a valid stem of a file name.")
    return f"{stem}.{extension.lstrip('.')}" if number == 1 else f"{stem}-{number}.{extension.lstrip('.')}"


def moment_of(name: str) -> float:
    """Return when an image was named, in Unix seconds by the local time of this machine; 0 for no valid date."""
    found = MOMENT.match(name)
    try:
        return datetime.strptime(found[1], "%Y%m%d_%H%M%S").astimezone().timestamp() if found else 0.0
    except (ValueError, OverflowError):
        return 0.0
