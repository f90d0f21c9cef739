"""Tasks that outlive their request, on disk: what was asked for, how far it is, where its files are.

One SQLite file for all HTTP workers of all starts. Every task under way has an owner, the worker that follows it; a
task whose owner is gone is taken over by another one. Moments are Unix seconds.
"""

import json
import sqlite3
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageserver.errors import StorageFull

# A task that has lost so many owners is given up: it may be what ends them.
MAX_ATTEMPTS = 3
# Forgotten tasks are still known to have been there for so many times their time to live.
TOMBSTONE = 7
OPEN = "('queued', 'processing')"
ENDED = "('completed', 'failed', 'cancelled')"

COLUMNS = """
    task_id TEXT PRIMARY KEY, number INTEGER NOT NULL, credential TEXT NOT NULL, wanted TEXT NOT NULL,
    state TEXT NOT NULL, owner INTEGER, attempts INTEGER NOT NULL, created_at REAL NOT NULL, completed_at REAL,
    processing_time REAL, files TEXT NOT NULL, seeds TEXT NOT NULL, error TEXT, code TEXT, warnings TEXT NOT NULL
"""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task; `wanted` is the JSON that it can be generated from again, `number` the request id of its last attempt.

    `state` is `queued`, `processing`, `completed`, `failed`, `cancelled` or `expired`.
    """

    task_id: str
    number: int
    credential: str
    wanted: str
    state: str
    owner: int | None
    attempts: int
    created_at: float
    completed_at: float | None
    processing_time: float | None
    files: tuple[str, ...]
    seeds: tuple[int, ...]
    error: str | None
    code: str | None
    warnings: tuple[str, ...]


class TaskStore:
    """The tasks of one server; finished ones are forgotten after `ttl` seconds."""

    def __init__(self, state_dir: Path, *, ttl: float) -> None:
        self._ttl = ttl
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                state_dir / "tasks.sqlite", isolation_level=None, timeout=2, check_same_thread=False
            )
            self._database.row_factory = sqlite3.Row
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute(f"CREATE TABLE IF NOT EXISTS tasks ({COLUMNS})")
            self._database.execute("CREATE INDEX IF NOT EXISTS tasks_by_state ON tasks (state, completed_at)")
        except (OSError, sqlite3.Error) as error:
            raise SystemExit(f"STATE_DIR={state_dir} cannot be written: {error}.") from error

    def add(self, *, number: int, credential: str, wanted: str, owner: int, warnings: list[str]) -> Task:
        """Write a new task down; raises StorageFull."""
        task_id = str(uuid.uuid4())
        self._write(
            "INSERT INTO tasks VALUES (?, ?, ?, ?, 'queued', ?, 1, ?, NULL, NULL, '[]', '[]', NULL, NULL, ?)",
            (task_id, number, credential, wanted, owner, time.time(), json.dumps(warnings)),
        )
        task = self.find(task_id, "")
        assert task is not None
        return task

    def count_open(self) -> int:
        """Return how many tasks have not ended; raises StorageFull."""
        [[count]] = self._read(f"SELECT COUNT(*) FROM tasks WHERE state IN {OPEN}")
        return int(count)

    def find(self, task_id: str, credential: str) -> Task | None:
        """Return a task, unless it is another credential's; raises StorageFull."""
        self._forget()
        rows = self._read("SELECT * FROM tasks WHERE task_id = ?", (task_id,))
        return next((_task(row) for row in rows if credential in ("", row["credential"])), None)

    def place(self, task_id: str, *, wanted: str, warnings: list[str]) -> None:
        """Its model is known, and with that what is generated."""
        self._write(
            "UPDATE tasks SET wanted = ?, warnings = ? WHERE task_id = ?", (wanted, json.dumps(warnings), task_id)
        )

    def start(self, task_id: str) -> None:
        """The device has begun with it."""
        self._write(f"UPDATE tasks SET state = 'processing' WHERE task_id = ? AND state IN {OPEN}", (task_id,))

    def complete(
        self, task_id: str, *, files: list[str], seeds: tuple[int, ...], processing_time: float, warnings: list[str]
    ) -> None:
        """Its images are saved."""
        self._write(
            "UPDATE tasks SET state = 'completed', completed_at = ?, files = ?, seeds = ?, processing_time = ?, "
            f"warnings = ?, owner = NULL WHERE task_id = ? AND state IN {OPEN}",
            (time.time(), json.dumps(files), json.dumps(seeds), processing_time, json.dumps(warnings), task_id),
        )

    def fail(self, task_id: str, *, code: str, sentence: str) -> None:
        """It ended without images, cancelled or not."""
        state = "cancelled" if code == "cancelled" else "failed"
        self._write(
            "UPDATE tasks SET state = ?, completed_at = ?, code = ?, error = ?, owner = NULL "
            f"WHERE task_id = ? AND state IN {OPEN}",
            (state, time.time(), code, sentence, task_id),
        )

    def release(self, task_id: str) -> None:
        """Let whoever comes first take it over."""
        self._write(
            f"UPDATE tasks SET state = 'queued', owner = NULL WHERE task_id = ? AND state IN {OPEN}", (task_id,)
        )

    def adopt(self, owner: int, lives: Callable[[int], bool], take_number: Callable[[], int]) -> list[Task]:
        """Take over the tasks whose owner does not live any more; each gets a number for its new attempt.

        Raises StorageFull.
        """
        adopted = []
        for row in self._read(f"SELECT * FROM tasks WHERE state IN {OPEN}"):
            task = _task(row)
            if task.owner is not None and lives(task.owner):
                continue
            if task.attempts >= MAX_ATTEMPTS:
                self.fail(task.task_id, code="engine_unavailable", sentence="The server died with this task too often.")
                continue
            taken = self._write(
                # One that was released lost nobody.
                "UPDATE tasks SET state = 'queued', owner = ?, number = ?, attempts = attempts + (owner IS NOT NULL) "
                f"WHERE task_id = ? AND state IN {OPEN} AND owner IS ?",
                (owner, take_number(), task.task_id, task.owner),
            )
            found = self.find(task.task_id, "") if taken else None
            if found is not None:
                adopted.append(found)
        return adopted

    def _forget(self) -> None:
        """Let what is over expire: its prompt goes, then the tombstone too."""
        now = time.time()
        self._write(
            "UPDATE tasks SET state = 'expired', wanted = '', files = '[]', error = NULL "
            f"WHERE state IN {ENDED} AND completed_at < ?",
            (now - self._ttl,),
        )
        self._write("DELETE FROM tasks WHERE state = 'expired' AND completed_at < ?", (now - TOMBSTONE * self._ttl,))

    def _read(self, statement: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        """Return the rows; raises StorageFull."""
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StorageFull(f"The tasks cannot be read: {error}.") from error

    def _write(self, statement: str, values: tuple[Any, ...]) -> int:
        """Return how many rows were changed; raises StorageFull."""
        try:
            return self._database.execute(statement, values).rowcount
        except sqlite3.Error as error:
            raise StorageFull(f"The task cannot be written down: {error}.") from error


def _task(row: sqlite3.Row) -> Task:
    lists = {name: tuple(json.loads(row[name])) for name in ("files", "seeds", "warnings")}
    return Task(**(dict(row) | lists))
