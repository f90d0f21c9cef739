"""The state database: one SQLite file for everything that must survive a restart, shared by all HTTP workers."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from filelock import FileLock

from imageserver.errors import StorageFull

FILE = "state.sqlite"
LOCK = "state.lock"
# A change of SCHEMA is a new version, and a statement here that leads to it from the one before.
SCHEMA_VERSION = 1
# How long to wait for another worker's transaction, which takes milliseconds.
BUSY_SECONDS = 2.0
# How long to wait for another worker that takes over old databases: 100,000 tasks take a second.
MIGRATION_SECONDS = 60.0

SCHEMA = (
    "CREATE TABLE counter (id INTEGER PRIMARY KEY, last INTEGER NOT NULL)",
    "INSERT INTO counter VALUES (1, 0)",
    """
    CREATE TABLE tasks (
        task_id TEXT PRIMARY KEY, number INTEGER NOT NULL, credential TEXT NOT NULL, wanted TEXT NOT NULL,
        state TEXT NOT NULL, owner INTEGER, attempts INTEGER NOT NULL, created_at REAL NOT NULL, completed_at REAL,
        processing_time REAL, files TEXT NOT NULL, seeds TEXT NOT NULL, error TEXT, code TEXT, warnings TEXT NOT NULL
    )
    """,
    "CREATE INDEX tasks_by_state ON tasks (state, completed_at)",
    """
    CREATE TABLE webhooks (
        task_id TEXT PRIMARY KEY, url TEXT NOT NULL, site TEXT NOT NULL, state TEXT NOT NULL,
        attempts INTEGER NOT NULL, due REAL NOT NULL, error TEXT
    )
    """,
    "CREATE INDEX due_webhooks ON webhooks (state, due)",
    # The address goes with its task, because it may hold a password.
    """
    CREATE TRIGGER forget_webhook AFTER UPDATE OF state ON tasks WHEN NEW.state = 'expired'
    BEGIN DELETE FROM webhooks WHERE task_id = NEW.task_id; END
    """,
)
# The files of older servers: the tables to keep, and how their rows merge with those already here.
OLD_FILES: dict[str, dict[str, str]] = {
    "attempts.sqlite": {},
    "request_ids.sqlite": {"counter": "ON CONFLICT (id) DO UPDATE SET last = max(last, excluded.last)"},
    "tasks.sqlite": {"tasks": "ON CONFLICT DO NOTHING", "webhooks": "ON CONFLICT DO NOTHING"},
}


class StateDatabase:
    """One worker's connection to the state database of a folder, which is created or brought up to date first."""

    def __init__(self, state_dir: Path, *, durable: bool = True) -> None:
        """Open the database; writes without `durable` do not wait for the disk and may be lost in a power cut.

        Raises SystemExit when the folder cannot be used.
        """
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            # SQLite does not wait for others where the journal changes: 5 of 1,600 connections found it locked.
            with FileLock(state_dir / LOCK, timeout=MIGRATION_SECONDS):
                self._database = _connect(state_dir / FILE)
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = FULL")
                self._bring_up_to_date(state_dir)
            if not durable:
                self._database.execute("PRAGMA synchronous = NORMAL")
        except (OSError, sqlite3.Error) as error:
            raise SystemExit(f"STATE_DIR={state_dir} cannot be written: {error}.") from error

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        """Return the rows that a statement finds or, with RETURNING, those that it changes; raises StorageFull."""
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StorageFull(f"The state database cannot be used: {error}.") from error

    def _bring_up_to_date(self, state_dir: Path) -> None:
        """Create the tables and take over old databases, in one transaction."""
        [[version]] = self._database.execute("PRAGMA user_version")
        if version > SCHEMA_VERSION:
            raise SystemExit(f"STATE_DIR={state_dir} was written by a newer version of qwen-image-server.")
        old_files = [state_dir / name for name in OLD_FILES if (state_dir / name).exists()]
        if version == SCHEMA_VERSION and not old_files:
            return
        # Left by an exception, the block rolls back.
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA if version == 0 else ():
                self._database.execute(statement)
            self._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            for file in old_files:
                self._import(file)
        # The rows are safe now. Removed and not renamed, because an address may hold a password.
        for file in old_files:
            for suffix in ("", "-wal", "-shm"):
                file.with_name(file.name + suffix).unlink(missing_ok=True)

    def _import(self, file: Path) -> None:
        with contextlib.closing(_connect(file)) as old:
            found = {name for [name] in old.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for table, conflict in OLD_FILES[file.name].items():
                for row in old.execute(f"SELECT * FROM {table}") if table in found else ():
                    places = ", ".join("?" * len(row))
                    self._database.execute(f"INSERT INTO {table} VALUES ({places}) {conflict}", tuple(row))


def _connect(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False)
    database.row_factory = sqlite3.Row
    return database
