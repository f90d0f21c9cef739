"""The room on the disk that a download needs."""

import shutil
from pathlib import Path

# A download begins only where the disk has this many times its size free.
RESERVE = 1.1


def needed_for(size: float) -> float:
    """Return what must be free for a download of a size, in the same unit."""
    return RESERVE * size


def free_bytes(folder: Path) -> int:
    """Return what is free on the disk of a folder, which need not exist yet."""
    return shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.is_dir())).free
