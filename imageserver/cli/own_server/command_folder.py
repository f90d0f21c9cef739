"""The folder of a server for one command: it goes with the server, or with the next one where that was killed."""

import os
import shutil
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

from imageserver.dispatch.client.runtime_dir import RuntimeDir
from imageserver.private_files import PRIVATE_FILE

PREFIX = "command-"
# The operating system frees it when its process ends, however it ends; a process id comes again.
OWNER_LOCK = "owner.lock"
COMMON_LOCK = "commands.lock"
# Longer than it takes to delete what a command has left.
BUSY_SECONDS = 30.0


class CommandFolder:
    """A private folder, as long as the `with` block lasts."""

    def __enter__(self) -> Path:
        """Return the new folder; those whose owners have ended are deleted before."""
        parent = RuntimeDir(os.getpid()).folder
        # So that nobody takes a folder for abandoned whose lock is about to be taken.
        with FileLock(parent / COMMON_LOCK, timeout=BUSY_SECONDS, mode=PRIVATE_FILE):
            for folder in parent.glob(f"{PREFIX}*"):
                if _is_abandoned(folder):
                    shutil.rmtree(folder, ignore_errors=True)
            self._folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
            self._lock = _lock_of(self._folder)
            self._lock.acquire(blocking=False)
        return self._folder

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        deadline = time.monotonic() + BUSY_SECONDS
        # A thread of the server may still write there.
        while self._folder.exists() and time.monotonic() < deadline:
            shutil.rmtree(self._folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    try:
        with _lock_of(folder).acquire(blocking=False):
            return True
    except (Timeout, OSError):
        return False


def _lock_of(folder: Path) -> FileLock:
    # Not thread_local: under gevent a thread is a greenlet.
    return FileLock(folder / OWNER_LOCK, mode=PRIVATE_FILE, thread_local=False)
