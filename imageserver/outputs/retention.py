"""Keep the output folder below its limits by deleting the oldest images."""

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from imageserver.outputs.naming import IMAGE, UNFINISHED

MEBIBYTE = 2**20
# A writer that is still at work after an hour is dead: an image takes milliseconds.
UNFINISHED_MAX_AGE = 3600.0


@dataclass(frozen=True)
class Swept:
    """What a sweep did: files deleted, their bytes, and the bytes of images that stay."""

    deleted: int = 0
    deleted_bytes: int = 0
    kept_bytes: int = 0


def sweep(path: Path, *, max_mb: float, max_age: float, now: float, keep: Collection[str] = ()) -> Swept:
    """Delete images older than `max_age` seconds, then the oldest until the others take at most `max_mb` MiB.

    `now` is the wall clock (`time.time()`), like the files' times. Only plain files directly in the folder that bear
    our names are touched, `keep` names those that stay; links are not followed. Never raises for what the disk does.
    """
    images = []
    deleted = deleted_bytes = kept_bytes = 0
    for name, size, modified in _files(path):
        if UNFINISHED.fullmatch(name):
            if now - modified > UNFINISHED_MAX_AGE and _delete(path / name):
                deleted, deleted_bytes = deleted + 1, deleted_bytes + size
        elif IMAGE.fullmatch(name):
            images.append((modified, name, size))
            kept_bytes += size
    for modified, name, size in sorted(images):
        over = now - modified > max_age or kept_bytes > max_mb * MEBIBYTE
        if over and name not in keep and _delete(path / name):
            deleted, deleted_bytes, kept_bytes = deleted + 1, deleted_bytes + size, kept_bytes - size
    return Swept(deleted, deleted_bytes, kept_bytes)


def _files(path: Path) -> list[tuple[str, int, float]]:
    """Return (name, bytes, time of change) of the plain files in a folder; those that vanish meanwhile are left out."""
    files = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    facts = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISREG(facts.st_mode):
                    files.append((entry.name, facts.st_size, facts.st_mtime))
    except OSError:
        return files
    return files


def _delete(path: Path) -> bool:
    """Delete a file; False when it is gone already, open on Windows, or not ours to delete."""
    try:
        path.unlink()
    except OSError:
        return False
    return True
