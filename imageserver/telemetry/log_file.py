"""The log in a file of limited size, which all processes of the server write."""

import contextlib
import logging
import os
from pathlib import Path

from filelock import FileLock

from imageserver.private_files import PRIVATE_FILE, make_private_folder


class LogFile(logging.Handler):
    """Appends whole lines; a full file becomes the older one (`.1`), in place of the one before.

    They are private, for lines may have prompts. Both together have twice the maximum size at most, whatever is logged.
    Where a file that others have open cannot be renamed, as on Windows, it is emptied.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._rotating = FileLock(f"{path}.lock", mode=PRIVATE_FILE)
        make_private_folder(path.parent)
        self._descriptor = self._open()
        # Not before it is open: `logging` closes at the end of the process what has got here.
        super().__init__()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; where the disk is full it is only on standard error."""
        try:
            line = f"{self.format(record)}\n".encode("utf-8", "backslashreplace")[: self._max_bytes]
            with contextlib.suppress(OSError):
                self._append(line)
        except Exception:
            # As every handler of the standard library: a wrong log call must not end what it is part of.
            self.handleError(record)

    def close(self) -> None:
        os.close(self._descriptor)
        super().close()

    def _append(self, line: bytes) -> None:
        if not self._is_current():
            self._reopen()
        if os.fstat(self._descriptor).st_size + len(line) > self._max_bytes:
            self._rotate()
        os.write(self._descriptor, line)  # one call, so that lines of several processes do not mix

    def _is_current(self) -> bool:
        """Return whether no other process, and no logrotate, has put the file away."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        with self._rotating:
            if self._is_current():
                try:
                    self._path.replace(f"{self._path}.1")
                except PermissionError:
                    os.ftruncate(self._descriptor, 0)
            self._reopen()

    def _reopen(self) -> None:
        # Opened first: where that fails, the number of a closed file would soon be another file's.
        new = self._open()
        os.close(self._descriptor)
        self._descriptor = new

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE_FILE)
