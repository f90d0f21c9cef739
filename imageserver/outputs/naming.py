"""The names of saved images, which distinguish them from other files in the folder."""

import re
from datetime import datetime

PREFIX = "Qwen-Image"
IMAGE = re.compile(rf"{PREFIX}-\d{{8}}_\d{{6}}-req\d+(-\d+)*\.(png|jpg|jpeg|webp|zip)", re.ASCII)
UNFINISHED = re.compile(rf"\.{PREFIX}-[0-9a-f]{{32}}\.part")


def file_stem(when: datetime, request_id: int, index: int | None = None) -> str:
    """Return the documented name without its extension, with `index` where a request makes several images.

    Every model, including the demo, has the documented prefix: clients look for it, and retention depends on it.
    """
    stem = f"{PREFIX}-{when:%Y%m%d_%H%M%S}-req{request_id}"
    return stem if index is None else f"{stem}-{index}"
