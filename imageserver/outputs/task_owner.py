"""A worker as the owner of tasks: it lives while it holds the lock of its file.

A process id comes again after a restart of a container, and a clock may jump. The operating system frees a lock when
its process ends, however it ends, and shows it to every container that shares the folder.
"""

import contextlib
import re
import uuid
from pathlib import Path

from filelock import FileLock, Timeout

from imageserver.errors import StorageFull
from imageserver.outputs.state import BUSY_SECONDS, LOCK
from imageserver.private_files import PRIVATE_FILE, make_private_folder

FOLDER = "owners"
NAME = re.compile(r"[0-9a-f]{32}")


class TaskOwner:
    """What this process owns tasks as."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._folder = state_dir / FOLDER
        self._name = ""
        self._lock: FileLock | None = None

    def name(self) -> str:
        """Return the name that only this process has ever had; raises StorageFull when it cannot be claimed."""
        if self._lock is None or not self._file(self._name).exists():
            try:
                self._claim()
            except OSError as error:
                raise StorageFull(f"This worker cannot own tasks: {error.strerror}.") from error
        return self._name

    def lives(self, owner: str) -> bool:
        """Return whether the owner of this name still runs, which is assumed where nobody can know."""
        if not NAME.fullmatch(owner) or not self._file(owner).exists():
            return False
        lock = self._lock_of(owner)
        try:
            lock.acquire(blocking=False)
        except (Timeout, OSError):
            return True
        lock.release()
        return False

    def _claim(self) -> None:
        make_private_folder(self._state_dir)
        # Under the lock of all, so that nobody takes a file for abandoned whose lock is about to be taken.
        with FileLock(self._state_dir / LOCK, timeout=BUSY_SECONDS, mode=PRIVATE_FILE):
            make_private_folder(self._folder)
            for file in self._folder.glob("*.lock"):
                if not self.lives(file.stem):
                    with contextlib.suppress(OSError):
                        file.unlink()
            name = uuid.uuid4().hex
            lock = self._lock_of(name)
            lock.acquire(blocking=False)
        self._name, self._lock = name, lock

    def _lock_of(self, owner: str) -> FileLock:
        # Not thread_local: under gevent a thread is a greenlet, and this lock must outlive it.
        return FileLock(self._file(owner), mode=PRIVATE_FILE, thread_local=False)

    def _file(self, owner: str) -> Path:
        return self._folder / f"{owner}.lock"
