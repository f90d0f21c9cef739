"""The state database: one SQLite file for everything that must survive a restart, shared by all HTTP workers.

It may be locked, full, damaged or deleted while the server runs: a statement then raises StorageFull, and the next one
tries again.
"""

import contextlib
import logging
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from imageserver.errors import StorageFull
from imageserver.outputs.schema import bring_up_to_date
from imageserver.private_files import PRIVATE_FILE, make_private_folder

logger = logging.getLogger(__name__)

FILE = "state.sqlite"
LOCK = "state.lock"
DAMAGED = f"{FILE}.damaged"
SUFFIXES = ("-wal", "-shm", "")
# How long a statement waits for other transactions, which take milliseconds.
BUSY_SECONDS = 2.0
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.001, 0.05
# How long a start waits for another process that migrates the database: 100,000 tasks take a second.
START_SECONDS = 60.0
# What SQLite keeps beside the file is cut to this size.
MAX_LOG_BYTES = 4 * 2**20
# With less free space, a task might not fit.
MIN_FREE_BYTES = 2**20
# A page moves in 10 µs: no call keeps other clients waiting.
PAGES_PER_SHRINK = 200
AUTO_VACUUM_INCREMENTAL = 2

Statement = tuple[str, tuple[Any, ...]]


class StateDatabase:
    """One worker's connection to the state database of a folder; both are made when they are first needed."""

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        """Writes without `durable` do not wait for the disk and may be lost in a power cut."""
        self.folder = folder
        self._durable = durable
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._has_failed = False

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        """Return the rows that a statement finds or, with RETURNING, those that it changes; raises StorageFull."""
        return self.execute_together((statement, values))

    def execute_together(self, *statements: Statement) -> list[sqlite3.Row]:
        """Execute all statements or none, and return the rows of the last one; raises StorageFull."""
        with self._errors_translated():
            return self._retry(statements, time.monotonic() + BUSY_SECONDS)

    def obstacle(self) -> str:
        """Return why nothing can be stored at present, or an empty string."""
        try:
            if shutil.disk_usage(self.folder).free < MIN_FREE_BYTES:
                return "The disk of the state database is full."
            if self._has_failed:
                self.execute("UPDATE counter SET last = last WHERE id = 1")
                self._has_failed = False
        except StorageFull as error:
            return error.sentence
        except OSError as error:
            return f"The state database cannot be used: {error.strerror}."
        return ""

    def used_bytes(self) -> int:
        """Return the size of what is stored, without the free pages of the file; raises StorageFull."""
        [[pages]] = self.execute("SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count")
        [[page_bytes]] = self.execute("PRAGMA page_size")
        return int(pages) * int(page_bytes)

    def shrink(self) -> None:
        """Give free pages back to the file system; raises StorageFull."""
        free = self.execute("PRAGMA freelist_count")[0][0]
        for _ in range(free // PAGES_PER_SHRINK):
            with self._errors_translated():
                # Not `execute`, which frees one page only: Python does not step through a statement without columns.
                self._current().executescript(f"PRAGMA incremental_vacuum({PAGES_PER_SHRINK})")
            # Under gevent, others run meanwhile.
            time.sleep(0)
        if free >= PAGES_PER_SHRINK:
            self.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def open(self, *, patience: float) -> sqlite3.Connection:
        """Connect, wait at most `patience` seconds for others that do, and bring the database up to date.

        Raises OSError, sqlite3.Error or StorageFull.
        """
        lost = self._connection is not None or (self.folder / DAMAGED).exists()
        self.close()
        make_private_folder(self.folder)
        file = self.folder / FILE
        # SQLite does not wait for others where the journal changes: 5 of 1,600 connections found it locked.
        with FileLock(self.folder / LOCK, timeout=patience, mode=PRIVATE_FILE):
            file.touch(mode=PRIVATE_FILE)
            connection = _connect(file)
            try:
                _make_private(file)
                _configure(connection, durable=self._durable)
                bring_up_to_date(connection, self.folder, connect=_connect, lost=lost)
                self._inode = _inode(file)
            except BaseException:
                connection.close()
                raise
        self._connection = connection
        return connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def set_damaged_aside(self) -> None:
        """Rename the database, unless another process has done so since it was opened; the next one starts empty."""
        file = self.folder / FILE
        with FileLock(self.folder / LOCK, timeout=BUSY_SECONDS, mode=PRIVATE_FILE):
            if self._inode not in (None, _inode(file)):
                return
            self.close()
            for suffix in SUFFIXES:
                with contextlib.suppress(FileNotFoundError):
                    file.with_name(FILE + suffix).replace(file.with_name(DAMAGED + suffix))

    @contextlib.contextmanager
    def _errors_translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, StorageFull) as error:
            self._has_failed = True
            if isinstance(error, StorageFull):
                raise
            # Without the path, which would tell clients about this machine.
            reason = error.strerror if isinstance(error, OSError) else error
            raise StorageFull(f"The state database cannot be used: {reason}.") from error

    def _retry(self, statements: tuple[Statement, ...], deadline: float) -> list[sqlite3.Row]:
        pause, was_damaged = FIRST_PAUSE_SECONDS, False
        while True:
            try:
                return _run(self._current(), statements)
            except sqlite3.Error as error:
                if is_damage(error) and not was_damaged:
                    was_damaged = True
                    self.set_damaged_aside()
                    logger.error("The state database was damaged: it is now %s, and its tasks are lost.", DAMAGED)
                elif is_busy(error) and time.monotonic() < deadline:
                    # Not in SQLite, whose wait would stop every greenlet of this worker.
                    time.sleep(pause)
                    pause = min(2 * pause, MAX_PAUSE_SECONDS)
                else:
                    raise

    def _current(self) -> sqlite3.Connection:
        """Return the connection, a new one if the file is not the one that was opened."""
        if self._connection is not None and self._inode == _inode(self.folder / FILE):
            return self._connection
        return self.open(patience=BUSY_SECONDS)


def is_damage(error: sqlite3.Error) -> bool:
    is_cut = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHORT_READ
    return is_cut or _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_busy(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_full(error: BaseException | None) -> bool:
    return isinstance(error, sqlite3.Error) and _code(error) == sqlite3.SQLITE_FULL


def _code(error: sqlite3.Error) -> int:
    # The upper bits say more about the same code; an error of Python's own module has none.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _run(connection: sqlite3.Connection, statements: tuple[Statement, ...]) -> list[sqlite3.Row]:
    if len(statements) == 1:
        return connection.execute(*statements[0]).fetchall()
    # Left by an exception, the block rolls back. Nothing in it waits, so no other greenlet gets in between.
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        return [connection.execute(*statement).fetchall() for statement in statements][-1]


def _connect(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(file, isolation_level=None, timeout=0, check_same_thread=False)


def _configure(connection: sqlite3.Connection, *, durable: bool) -> None:
    connection.row_factory = sqlite3.Row
    [[mode]] = connection.execute("PRAGMA auto_vacuum")
    if mode != AUTO_VACUUM_INCREMENTAL:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        with contextlib.suppress(sqlite3.OperationalError):
            # A file of an older version takes it over only like this; if it is in use or the disk is full, next time.
            connection.execute("VACUUM")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA journal_size_limit = {MAX_LOG_BYTES}")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")


def _make_private(file: Path) -> None:
    """Close the files of older versions to other users."""
    for suffix in SUFFIXES:
        with contextlib.suppress(OSError):
            file.with_name(FILE + suffix).chmod(PRIVATE_FILE)


def _inode(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
