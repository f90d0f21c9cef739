"""Keep the output folder below its limits by deleting the oldest images."""

import contextlib
import os
import re
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from imageserver.outputs.naming import IMAGE, UNFINISHED

MEBIBYTE = 2**20
# A file still unfinished after an hour has lost its writer: an image takes milliseconds to write.
MAX_UNFINISHED_SECONDS = 3600.0


@dataclass(frozen=True)
class Swept:
    """The result of a sweep: files deleted, their bytes, and the bytes of the images that stay."""

    deleted: int = 0
    deleted_bytes: int = 0
    kept_bytes: int = 0


def sweep(
    path: Path,
    *,
    max_mb: float,
    max_age: float,
    now: float,
    keep: Collection[str] = (),
    favourites: Collection[str] = (),
    kept: re.Pattern[str] = IMAGE,
    unfinished: re.Pattern[str] = UNFINISHED,
) -> Swept:
    """Delete images older than `max_age` seconds, then the oldest until the others take at most `max_mb` MiB.

    `now` is the wall clock (`time.time()`), like the files' times. Only plain files directly in the folder with
    the server's names are deleted, and none in `keep`; `favourites` have no age, and are the last to be deleted for
    their size. Links are not followed. Disk errors are never raised.
    """
    images = []
    deleted = deleted_bytes = kept_bytes = 0
    for name, size, modified in _files(path):
        if unfinished.fullmatch(name):
            if now - modified > MAX_UNFINISHED_SECONDS and _delete(path / name):
                deleted, deleted_bytes = deleted + 1, deleted_bytes + size
        elif kept.fullmatch(name):
            images.append((modified, name, size))
            kept_bytes += size
    for modified, name, size in sorted(images, key=lambda image: (image[1] in favourites, image)):
        is_old = now - modified > max_age and name not in favourites
        over = is_old or kept_bytes > max_mb * MEBIBYTE
        if over and name not in keep and _delete(path / name):
            deleted, deleted_bytes, kept_bytes = deleted + 1, deleted_bytes + size, kept_bytes - size
    return Swept(deleted, deleted_bytes, kept_bytes)


def _files(path: Path) -> list[tuple[str, int, float]]:
    """Return (name, bytes, time of change) of the plain files in a folder; files that vanish meanwhile are skipped."""
    files = []
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    files.append((entry.name, status.st_size, status.st_mtime))
    return files


def _delete(path: Path) -> bool:
    """Delete a file; return False when it is gone, open on Windows, or another user's."""
    try:
        path.unlink()
    except OSError:
        return False
    return True
