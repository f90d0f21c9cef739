"""The tables of the state database, and the steps that lead to them from every older version."""

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from imageserver.errors import StorageFull

Connect = Callable[[Path], sqlite3.Connection]
# Step N leads from version N to N + 1; a new version is a new step at the end.
STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE counter (id INTEGER PRIMARY KEY, last INTEGER NOT NULL)",
        "INSERT INTO counter VALUES (1, 0)",
        """
        CREATE TABLE tasks (
            task_id TEXT PRIMARY KEY, number INTEGER NOT NULL, credential TEXT NOT NULL, wanted TEXT NOT NULL,
            state TEXT NOT NULL, owner INTEGER, attempts INTEGER NOT NULL, created_at REAL NOT NULL, completed_at REAL,
            processing_time REAL, files TEXT NOT NULL, seeds TEXT NOT NULL, error TEXT, code TEXT,
            warnings TEXT NOT NULL
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
    ),
    (
        # The owner was a process id, which the next server in a container has again.
        "ALTER TABLE tasks RENAME COLUMN owner TO process",
        "ALTER TABLE tasks ADD COLUMN owner TEXT",
        "UPDATE tasks SET owner = 'process ' || process WHERE process IS NOT NULL",
        "ALTER TABLE tasks DROP COLUMN process",
        "UPDATE tasks SET wanted = '' WHERE completed_at IS NOT NULL",
        "CREATE INDEX tasks_by_end ON tasks (completed_at)",
        "DELETE FROM webhooks WHERE task_id NOT IN (SELECT task_id FROM tasks)",
        """
        CREATE TRIGGER delete_webhook AFTER DELETE ON tasks
        BEGIN DELETE FROM webhooks WHERE task_id = OLD.task_id; END
        """,
    ),
    (
        # Periods end at `until`, in Unix seconds; `seconds` are those of the device.
        """
        CREATE TABLE usage (
            account TEXT NOT NULL, period TEXT NOT NULL, until INTEGER NOT NULL, seconds REAL NOT NULL,
            PRIMARY KEY (account, period)
        )
        """,
    ),
    # The last lease of an engine on another machine.
    ("INSERT INTO counter VALUES (2, 0)",),
    (
        # `settings` is JSON that generates the image again, `searched` its prompt without capitals.
        """
        CREATE TABLE gallery (
            number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, credential TEXT NOT NULL,
            created_at REAL NOT NULL, favourite INTEGER NOT NULL DEFAULT 0, deleted_at REAL, bytes INTEGER NOT NULL,
            width INTEGER NOT NULL, height INTEGER NOT NULL, model TEXT NOT NULL, inputs TEXT NOT NULL,
            settings TEXT NOT NULL, searched TEXT NOT NULL
        )
        """,
        "CREATE INDEX gallery_by_credential ON gallery (credential, number)",
        "CREATE INDEX gallery_favourites ON gallery (number) WHERE favourite = 1",
        # Also for counting, without a look at the rows themselves.
        "CREATE INDEX gallery_by_deletion ON gallery (deleted_at, favourite, credential)",
        "CREATE INDEX gallery_sizes ON gallery (bytes)",
    ),
    (
        # Not a column of webhooks: a server of the version before may serve on beside this one, and knows them all.
        "CREATE TABLE webhook_traces (task_id TEXT PRIMARY KEY, trace_id TEXT NOT NULL)",
        """
        CREATE TRIGGER forget_trace AFTER DELETE ON webhooks
        BEGIN DELETE FROM webhook_traces WHERE task_id = OLD.task_id; END
        """,
    ),
)
# The files of older servers: the tables to keep, and how their rows merge with those already here.
OLD_FILES: dict[str, dict[str, str]] = {
    "attempts.sqlite": {},
    "request_ids.sqlite": {"counter": "ON CONFLICT (id) DO UPDATE SET last = max(last, excluded.last)"},
    "tasks.sqlite": {"tasks": "ON CONFLICT DO NOTHING", "webhooks": "ON CONFLICT DO NOTHING"},
}


def bring_up_to_date(database: sqlite3.Connection, folder: Path, *, connect: Connect, lost: bool) -> None:
    """Create or change the tables and take over old files, in one transaction.

    Ids go on above all earlier ones even if their counter is `lost`. Raises StorageFull for a newer version or an old
    file that cannot be read.
    """
    [[version]] = database.execute("PRAGMA user_version")
    if version > len(STEPS):
        raise StorageFull("The state folder was written by a newer version of qwen-image-server.")
    old_files = [folder / name for name in OLD_FILES if (folder / name).exists()]
    if version == len(STEPS) and not old_files:
        return
    # Left by an exception, the block rolls back.
    with database:
        database.execute("BEGIN IMMEDIATE")
        for statements in STEPS[version:]:
            for statement in statements:
                database.execute(statement)
        if lost and version == 0:
            # No server has had one request per second since 1970.
            database.execute("UPDATE counter SET last = ?", (int(time.time()),))
        database.execute(f"PRAGMA user_version = {len(STEPS)}")
        for file in old_files:
            _import(database, file, connect)
    # The rows are safe now. Removed and not renamed, because an address may hold a password.
    for file in old_files:
        for suffix in ("", "-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)


def _import(database: sqlite3.Connection, file: Path, connect: Connect) -> None:
    try:
        with contextlib.closing(connect(file)) as old:
            found = {name for [name] in old.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for table, conflict in OLD_FILES[file.name].items():
                if table in found:
                    _copy(old.execute(f"SELECT * FROM {table}"), database, table, conflict)
    except sqlite3.Error as error:
        raise StorageFull(f"The old database {file.name} cannot be read: {error}.") from error


def _copy(rows: sqlite3.Cursor, database: sqlite3.Connection, table: str, conflict: str) -> None:
    names = ", ".join(column[0] for column in rows.description)
    places = ", ".join("?" * len(rows.description))
    database.executemany(f"INSERT INTO {table} ({names}) VALUES ({places}) {conflict}", rows)
