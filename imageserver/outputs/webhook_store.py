"""The webhooks of tasks, on disk beside them: whom to tell, and how often that was tried.

Which are due follows from the tasks' own states, so that no end of a task is missed, whoever wrote it down. Moments are
Unix seconds.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from imageserver.errors import StorageFull

COLUMNS = """
    task_id TEXT PRIMARY KEY, url TEXT NOT NULL, site TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
    due REAL NOT NULL, error TEXT
"""
# With the task goes its address, which may hold a password.
FORGET = """
    CREATE TRIGGER IF NOT EXISTS forget_webhook AFTER UPDATE OF state ON tasks WHEN NEW.state = 'expired'
    BEGIN DELETE FROM webhooks WHERE task_id = NEW.task_id; END
"""
DUE = """
    SELECT webhooks.* FROM webhooks JOIN tasks USING (task_id)
    WHERE webhooks.state = 'waiting' AND webhooks.due <= ? AND tasks.state IN ('completed', 'failed', 'cancelled')
    ORDER BY webhooks.due LIMIT ?
"""


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """One task's webhook; `site` is the address that its client knows this server by.

    `attempts` counts the one under way, `error` is why the last one failed.
    """

    task_id: str
    url: str
    site: str
    state: Literal["waiting", "delivered", "failed"]
    attempts: int
    due: float
    error: str | None


class WebhookStore:
    """The webhooks of one server; opened after its tasks, whose file it shares."""

    def __init__(self, state_dir: Path) -> None:
        try:
            self._database = sqlite3.connect(
                state_dir / "tasks.sqlite", isolation_level=None, timeout=2, check_same_thread=False
            )
            self._database.row_factory = sqlite3.Row
            self._database.execute(f"CREATE TABLE IF NOT EXISTS webhooks ({COLUMNS})")
            self._database.execute("CREATE INDEX IF NOT EXISTS due_webhooks ON webhooks (state, due)")
            self._database.execute(FORGET)
        except sqlite3.Error as error:
            raise SystemExit(f"STATE_DIR={state_dir} cannot be written: {error}.") from error

    def add(self, task_id: str, *, url: str, site: str) -> None:
        """Have a client told when its task ends; raises StorageFull."""
        self._write("INSERT INTO webhooks VALUES (?, ?, ?, 'waiting', 0, 0, NULL)", (task_id, url, site))

    def find(self, task_id: str) -> Webhook | None:
        """Return a task's webhook, if it has one; raises StorageFull."""
        rows = self._read("SELECT * FROM webhooks WHERE task_id = ?", (task_id,))
        return next((Webhook(**row) for row in rows), None)

    def claim(self, now: float, *, lease: float, most: int) -> list[Webhook]:
        """Return what is due, for this process alone: whoever dies with one leaves it to others after `lease` seconds.

        The attempt is counted before it is made, so that one which ends its worker does not end all of them. Raises
        StorageFull.
        """
        claimed = []
        for row in self._read(DUE, (now, most)):
            taken = self._write(
                "UPDATE webhooks SET due = ?, attempts = attempts + 1 "
                "WHERE task_id = ? AND state = 'waiting' AND due = ?",
                (now + lease, row["task_id"], row["due"]),
            )
            found = self.find(row["task_id"]) if taken else None
            if found is not None:
                claimed.append(found)
        return claimed

    def deliver(self, task_id: str) -> None:
        """The receiver has taken it."""
        self._write("UPDATE webhooks SET state = 'delivered', error = NULL WHERE task_id = ?", (task_id,))

    def postpone(self, task_id: str, *, due: float, error: str) -> None:
        """It failed and is tried again at `due`."""
        self._write("UPDATE webhooks SET due = ?, error = ? WHERE task_id = ?", (due, error, task_id))

    def give_up(self, task_id: str, *, error: str) -> None:
        """It failed for the last time."""
        self._write("UPDATE webhooks SET state = 'failed', error = ? WHERE task_id = ?", (error, task_id))

    def _read(self, statement: str, values: tuple[Any, ...]) -> list[sqlite3.Row]:
        """Return the rows; raises StorageFull."""
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StorageFull(f"The webhooks cannot be read: {error}.") from error

    def _write(self, statement: str, values: tuple[Any, ...]) -> int:
        """Return how many rows were changed; raises StorageFull."""
        try:
            return self._database.execute(statement, values).rowcount
        except sqlite3.Error as error:
            raise StorageFull(f"The webhook cannot be written down: {error}.") from error
