"""Tasks that outlive their request, on disk: the request, its progress and its files.

Every task under way has an owner, the worker that follows it; a task that nobody follows is adopted by a worker.
Moments are Unix seconds.
"""

import json
import sqlite3
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from imageserver.errors import Busy
from imageserver.outputs.state import StateDatabase, Statement
from imageserver.outputs.task_owner import TaskOwner
from imageserver.outputs.task_waits import TaskWaits
from imageserver.outputs.webhook_store import ADD_WEBHOOK

# A task that has lost this many owners has failed: it may be what ends them.
MAX_ATTEMPTS = 3
# Expired tasks are still answered as such for this many times their time to live.
TOMBSTONE_TTLS = 7
MAX_DELETED_AT_ONCE = 100
MEBIBYTE = 2**20
OPEN = "('queued', 'processing')"
ENDED = "('completed', 'failed', 'cancelled')"
ADD_TASK = """
    INSERT INTO tasks (task_id, number, credential, wanted, state, owner, attempts, created_at, files, seeds, warnings)
    VALUES (?, ?, ?, ?, 'queued', ?, 1, ?, '[]', '[]', ?) ON CONFLICT DO NOTHING RETURNING *
"""
DELETE_OLDEST = """
    DELETE FROM tasks WHERE task_id IN (
        SELECT task_id FROM tasks WHERE completed_at IS NOT NULL ORDER BY completed_at LIMIT ?
    ) RETURNING task_id
"""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task; `wanted` is the JSON that it can be generated from again, `number` the request id of its last attempt.

    `wanted` is empty once the task has ended, so that no prompt is kept.
    `state` is `queued`, `processing`, `completed`, `failed`, `cancelled` or `expired`.
    """

    task_id: str
    number: int
    credential: str
    wanted: str
    state: str
    owner: str | None
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
    """The tasks of one server, and which of them this process follows.

    Ended ones expire after `ttl` seconds; the oldest are deleted when there are more than `max_ended`, or when the
    state database is larger than `max_mb` MiB.
    """

    def __init__(self, state_dir: Path, *, ttl: float, max_ended: int, max_mb: float) -> None:
        self._ttl, self._max_ended, self._max_mb = ttl, max_ended, max_mb
        self._database = StateDatabase(state_dir)
        self._owner = TaskOwner(state_dir)
        self._followed: set[str] = set()
        self.waits = TaskWaits()
        # Why no task can be stored at present, as `maintain` found it.
        self.obstacle = ""

    def add(
        self, *, number: int, credential: str, wanted: str, warnings: list[str], webhook: tuple[str, str] | None = None,
        task_id: str = "",
    ) -> Task:  # fmt: skip
        """Add a task that this process follows, and its webhook's address and site.

        Raises StorageFull, and Busy where there is a task with this id.
        """
        task_id, owner = task_id or str(uuid.uuid4()), self._owner.name()
        statements: list[Statement] = []
        if webhook is not None:
            statements.append((ADD_WEBHOOK, (task_id, *webhook)))
        values = task_id, number, credential, wanted, owner, time.time(), json.dumps(warnings)
        statements.append((ADD_TASK, values))
        was_followed = task_id in self._followed
        self._followed.add(task_id)
        rows: list[sqlite3.Row] = []
        try:
            rows = self._database.execute_together(*statements)
        finally:
            if not rows and not was_followed:
                self._followed.discard(task_id)
        if not rows:
            raise Busy("There is a task with this id already.", param="task_id")
        return _task(rows[0])

    def unfollow(self, task_id: str) -> None:
        """Follow a task no longer: if it has not ended, it is adopted."""
        self._followed.discard(task_id)

    def count_open(self, credential: str = "") -> int:
        """Return how many tasks have not ended, of one credential or, without it, of all; raises StorageFull."""
        [[count]] = self._database.execute(
            f"SELECT COUNT(*) FROM tasks WHERE state IN {OPEN} AND ? IN ('', credential)", (credential,)
        )
        return int(count)

    def count_by_state(self) -> dict[str, int]:
        """Return how many tasks are kept in each state; raises StorageFull."""
        rows = self._database.execute("SELECT state, COUNT(*) FROM tasks GROUP BY state")
        return {str(state): int(count) for state, count in rows}

    def find(self, task_id: str, credential: str) -> Task | None:
        """Return a task, unless it is another credential's; raises StorageFull."""
        rows = self._database.execute("SELECT * FROM tasks WHERE task_id = ?", (task_id,))
        task = next((_task(row) for row in rows if credential in ("", row["credential"])), None)
        if task and task.completed_at is not None and task.completed_at < time.time() - self._ttl:
            # Seen here and not only by `maintain`: reading must work while others write.
            return replace(task, state="expired", files=(), error=None)
        return task

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
        changes = "state = 'completed', files = ?, seeds = ?, processing_time = ?, warnings = ?"
        self._end(task_id, changes, (json.dumps(files), json.dumps(seeds), processing_time, json.dumps(warnings)))

    def fail(self, task_id: str, *, code: str, sentence: str) -> None:
        """Record that it ended without images, cancelled or not; raises StorageFull."""
        state = "cancelled" if code == "cancelled" else "failed"
        self._end(task_id, "state = ?, code = ?, error = ?", (state, code, sentence))

    def release(self, task_id: str) -> None:
        """Let whichever worker comes first adopt it, unless one already has; raises StorageFull."""
        self._database.execute(
            f"UPDATE tasks SET state = 'queued', owner = NULL WHERE task_id = ? AND state IN {OPEN} AND owner = ?",
            (task_id, self._owner.name()),
        )

    def adopt(self, next_number: Callable[[], int]) -> list[Task]:
        """Take over and follow the tasks that nobody follows; each gets a number for its new attempt.

        Raises StorageFull.
        """
        owner, lives = self._owner.name(), cache(self._owner.lives)
        adopted: list[Task] = []
        for row in self._database.execute(f"SELECT * FROM tasks WHERE state IN {OPEN}"):
            task = _task(row)
            is_ours = task.owner == owner
            if task.task_id in self._followed if is_ours else task.owner is not None and lives(task.owner):
                continue
            if task.attempts >= MAX_ATTEMPTS:
                self.fail(task.task_id, code="engine_unavailable", sentence="The server died with this task too often.")
                continue
            adopted += self._adopt_one(task, owner, next_number())
        return adopted

    def maintain(self) -> None:
        """Expire and delete old tasks and shrink the file, and find out what stands in the way of storing new ones.

        Raises StorageFull.
        """
        self.obstacle = self._database.obstacle()
        if not self.obstacle:
            self._expire()
            self._delete_excess()
            self._database.shrink()

    def _adopt_one(self, task: Task, owner: str, number: int) -> list[Task]:
        self._followed.add(task.task_id)
        rows: list[sqlite3.Row] = []
        try:
            rows = self._database.execute(
                # One that was released lost nobody.
                "UPDATE tasks SET state = 'queued', owner = ?, number = ?, attempts = attempts + (owner IS NOT NULL) "
                f"WHERE task_id = ? AND state IN {OPEN} AND owner IS ? RETURNING *",
                (owner, number, task.task_id, task.owner),
            )
        finally:
            if not rows:
                self._followed.discard(task.task_id)
        return [_task(row) for row in rows]

    def _end(self, task_id: str, changes: str, values: tuple[Any, ...]) -> None:
        # The prompt is not needed any more.
        self._update_open(task_id, f"{changes}, completed_at = ?, wanted = '', owner = NULL", (*values, time.time()))

    def _update_open(self, task_id: str, changes: str, values: tuple[Any, ...] = ()) -> None:
        statement = f"UPDATE tasks SET {changes} WHERE task_id = ? AND state IN {OPEN}"
        self._database.execute(statement, (*values, task_id))

    def _delete_excess(self) -> None:
        while (excess := self._excess()) and self._database.execute(DELETE_OLDEST, (excess,)):
            # Under gevent, others run meanwhile.
            time.sleep(0)

    def _excess(self) -> int:
        """Return how many ended tasks to delete now: few, so that other workers can write in between."""
        [[ended]] = self._database.execute("SELECT COUNT(*) FROM tasks WHERE completed_at IS NOT NULL")
        excess = ended - self._max_ended
        if excess <= 0 and self._database.used_bytes() > self._max_mb * MEBIBYTE:
            # Their sizes differ, so the next look tells whether these were enough.
            excess = 1 + ended // 20
        return max(0, min(int(excess), MAX_DELETED_AT_ONCE))

    def _expire(self) -> None:
        """Remove the results of tasks that ended `ttl` seconds ago, and much later their rows."""
        now = time.time()
        self._database.execute(
            "UPDATE tasks SET state = 'expired', files = '[]', error = NULL "
            f"WHERE state IN {ENDED} AND completed_at < ?",
            (now - self._ttl,),
        )
        self._database.execute(
            "DELETE FROM tasks WHERE state = 'expired' AND completed_at < ?", (now - TOMBSTONE_TTLS * self._ttl,)
        )


def _task(row: sqlite3.Row) -> Task:
    lists = {name: tuple(json.loads(row[name])) for name in ("files", "seeds", "warnings")}
    return Task(**(dict(row) | lists))
