"""The folder that images are saved in."""

import contextlib
import errno
import itertools
import math
import os
import re
import time
from collections.abc import Collection
from pathlib import Path

from imageserver.atomic_write import move_to_new, written_aside
from imageserver.errors import NotFound, StorageFull, StorageUnavailable
from imageserver.outputs.naming import PREFIX, moment_of, numbered
from imageserver.outputs.retention import sweep

SWEEP_INTERVAL_SECONDS = 60.0
# No separator, drive, percent sign, NUL or leading dot fits: such a name can only mean a file of the folder itself.
SERVED_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.(png|jpg|jpeg|webp|zip)")
REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "the output folder is not writable",
    errno.EPERM: "the output folder is not writable",
    errno.EROFS: "the output folder is read-only",
}


class OutputFolder:
    """A folder of images that never overwrites one and stays below `max_mb` MiB and `max_age` seconds."""

    def __init__(self, path: Path, *, max_mb: float, max_age: float) -> None:
        self.path = path
        self.max_mb = max_mb
        self.max_age = max_age
        self.favourites: Collection[str] | None = ()
        self._last_sweep = float("-inf")

    @property
    def obstacle(self) -> str:
        """Always empty: an image that cannot be saved is answered with 507, and the next one may fit."""
        return ""

    @property
    def keeps_favourites(self) -> bool:
        return True

    def start(self) -> None:
        """Need nothing."""

    def save(self, data: bytes, *, stem: str, extension: str) -> str:
        """Write `data` aside, publish it whole under `stem` or the next free `stem-2`, `stem-3`, … and return its name.

        Raises StorageFull, with nothing left behind, when the disk refuses.
        """
        numbered(stem, 1, extension)
        try:
            with written_aside(self.path, data, prefix=PREFIX, private=True) as aside:
                saved = self._publish(aside, stem, extension)
        except OSError as error:
            # A path in the sentence would tell strangers about the machine, and the answer may go to one.
            reason = REASONS.get(error.errno or 0, (error.strerror or "the disk refused").lower())
            raise StorageFull(
                f"The image could not be saved because {reason}; free some space or let save_to_file be false to get "
                "the bytes instead."
            ) from error
        self.maintain(keep=saved)
        return saved

    def maintain(self, *, keep: str = "") -> None:
        """Sweep unless the last sweep was less than a minute ago; `keep` names a file that stays in any case."""
        now = time.monotonic()
        if now - self._last_sweep >= SWEEP_INTERVAL_SECONDS:
            # Without a lock: two sweeps at once do no harm, and a lock would have to work for greenlets and threads.
            self._last_sweep = now
            # Which ones may be too old is known once the favourites are.
            max_age = math.inf if self.favourites is None else self.max_age
            sweep(
                self.path, max_mb=self.max_mb, max_age=max_age, now=time.time(), keep=(keep,),
                favourites=self.favourites or (),
            )  # fmt: skip

    def open_image(self, name: str) -> Path:
        """Return the path of a saved image; raises NotFound for everything else, such as links and folders."""
        path = self.path / name if SERVED_NAME.fullmatch(name) else None
        if path is None or path.is_symlink() or not path.is_file():
            raise NotFound("There is no image of that name.", param="name")
        return path

    def delete(self, name: str) -> None:
        """Delete a saved image, if it is there and can be; raises StorageUnavailable where the disk refuses."""
        try:
            self.open_image(name).unlink(missing_ok=True)
        except NotFound:
            pass
        except OSError as error:
            reason = REASONS.get(error.errno or 0, "the disk refused")
            raise StorageUnavailable(f"The image could not be deleted because {reason}.") from error

    def is_gone(self, name: str) -> bool:
        """Return whether no file has that name now."""
        return not (self.path / name).is_file()

    def missing(self, names: Collection[str]) -> list[str]:
        """Return the names without a file; none where the folder itself is away.

        Where more than half of them are without one, a volume may not be mounted: its empty folder is there, and new
        images may be in it. Then only those are returned that are too old to be kept anyway.
        """
        try:
            with os.scandir(self.path) as entries:
                there = {entry.name for entry in entries}
        except OSError:
            return []
        gone = [name for name in names if name not in there]
        if 2 * len(gone) <= len(names):
            return gone
        oldest, favourites = time.time() - self.max_age, self.favourites
        if favourites is None:
            return []
        return [name for name in gone if name not in favourites and moment_of(name) < oldest]

    def _publish(self, aside: Path, stem: str, extension: str) -> str:
        for number in itertools.count(1):
            name = numbered(stem, number, extension)
            with contextlib.suppress(FileExistsError):
                move_to_new(aside, self.path / name)
                return name
        raise AssertionError("unreachable")
