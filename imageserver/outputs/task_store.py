"""Tasks that outlive their request, on disk: the request, its progress and its files.

Every task under way has an owner, the worker that follows it; a task whose owner is gone is taken over by another one.
Moments are Unix seconds.
"""

import json
import sqlite3
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageserver.outputs.state import StateDatabase

# A task that has lost this many owners has failed: it may be what ends them.
MAX_ATTEMPTS = 3
# Expired tasks are still answered as such for this many times their time to live.
TOMBSTONE_TTLS = 7
OPEN = "('queued', 'processing')"
ENDED = "('completed', 'failed', 'cancelled')"


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
    """The tasks of one server; finished ones expire after `ttl` seconds."""

    def __init__(self, state_dir: Path, *, ttl: float) -> None:
        self._ttl = ttl
        self._database = StateDatabase(state_dir)

    def add(self, *, number: int, credential: str, wanted: str, owner: int, warnings: list[str]) -> Task:
        """Add a task; raises StorageFull."""
        [row] = self._database.execute(
            "INSERT INTO tasks VALUES (?, ?, ?, ?, 'queued', ?, 1, ?, NULL, NULL, '[]', '[]', NULL, NULL, ?) "
            "RETURNING *",
            (str(uuid.uuid4()), number, credential, wanted, owner, time.time(), json.dumps(warnings)),
        )
        return _task(row)

    def count_open(self) -> int:
        """Return how many tasks have not ended; raises StorageFull."""
        [[count]] = self._database.execute(f"SELECT COUNT(*) FROM tasks WHERE state IN {OPEN}")
        return int(count)

    def find(self, task_id: str, credential: str) -> Task | None:
        """Return a task, unless it is another credential's; raises StorageFull."""
        self._expire()
        rows = self._database.execute("SELECT * FROM tasks WHERE task_id = ?", (task_id,))
        return next((_task(row) for row in rows if credential in ("", row["credential"])), None)

    def set_wanted(self, task_id: str, *, wanted: str, warnings: list[str]) -> None:
        """Record the request, which is complete once its model is known; raises StorageFull."""
        self._database.execute(
            "UPDATE tasks SET wanted = ?, warnings = ? WHERE task_id = ?", (wanted, json.dumps(warnings), task_id)
        )

    def start(self, task_id: str) -> None:
        """Record that the device has begun; raises StorageFull."""
        self._update_open(task_id, "state = 'processing'")

    def complete(
        self, task_id: str, *, files: list[str], seeds: tuple[int, ...], processing_time: float, warnings: list[str]
    ) -> None:
        """Record that its images are saved; raises StorageFull."""
        self._update_open(
            task_id,
            "state = 'completed', completed_at = ?, files = ?, seeds = ?, processing_time = ?, warnings = ?, "
            "owner = NULL",
            (time.time(), json.dumps(files), json.dumps(seeds), processing_time, json.dumps(warnings)),
        )

    def fail(self, task_id: str, *, code: str, sentence: str) -> None:
        """Record that it ended without images, cancelled or not; raises StorageFull."""
        state = "cancelled" if code == "cancelled" else "failed"
        changes = "state = ?, completed_at = ?, code = ?, error = ?, owner = NULL"
        self._update_open(task_id, changes, (state, time.time(), code, sentence))

    def release(self, task_id: str) -> None:
        """Let whichever worker comes first adopt it; raises StorageFull."""
        self._update_open(task_id, "state = 'queued', owner = NULL")

    def adopt(self, owner: int, lives: Callable[[int], bool], next_number: Callable[[], int]) -> list[Task]:
        """Take over the tasks whose owner is dead; each gets a number for its new attempt.

        Raises StorageFull.
        """
        adopted: list[sqlite3.Row] = []
        for row in self._database.execute(f"SELECT * FROM tasks WHERE state IN {OPEN}"):
            task = _task(row)
            if task.owner is not None and lives(task.owner):
                continue
            if task.attempts >= MAX_ATTEMPTS:
                self.fail(task.task_id, code="engine_unavailable", sentence="The server died with this task too often.")
                continue
            adopted += self._database.execute(
                # One that was released lost nobody.
                "UPDATE tasks SET state = 'queued', owner = ?, number = ?, attempts = attempts + (owner IS NOT NULL) "
                f"WHERE task_id = ? AND state IN {OPEN} AND owner IS ? RETURNING *",
                (owner, next_number(), task.task_id, task.owner),
            )
        return [_task(row) for row in adopted]

    def _update_open(self, task_id: str, changes: str, values: tuple[Any, ...] = ()) -> None:
        statement = f"UPDATE tasks SET {changes} WHERE task_id = ? AND state IN {OPEN}"
        self._database.execute(statement, (*values, task_id))

    def _expire(self) -> None:
        """Remove the prompts of tasks that ended `ttl` seconds ago, and much later their rows."""
        now = time.time()
        self._database.execute(
            "UPDATE tasks SET state = 'expired', wanted = '', files = '[]', error = NULL "
            f"WHERE state IN {ENDED} AND completed_at < ?",
            (now - self._ttl,),
        )
        self._database.execute(
            "DELETE FROM tasks WHERE state = 'expired' AND completed_at < ?", (now - TOMBSTONE_TTLS * self._ttl,)
        )


def _task(row: sqlite3.Row) -> Task:
    lists = {name: tuple(json.loads(row[name])) for name in ("files", "seeds", "warnings")}
    return Task(**(dict(row) | lists))
