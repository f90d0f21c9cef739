"""The webhooks of tasks: the address to notify, and how often that was tried.

Which are due follows from the tasks' own states, so that no end of a task is missed, whichever worker recorded
it. Moments are Unix seconds.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imageserver.outputs.state import StateDatabase

# To be sent when the task ends; added together with the task, which is accepted with its webhook or not at all.
ADD_WEBHOOK = "INSERT INTO webhooks VALUES (?, ?, ?, 'waiting', 0, 0, NULL)"
# The first few of every credential and host, in turns: however many one receiver has, those of others are found.
DUE = """
    WITH waiting AS (
        SELECT task_id, due, credential, number, coalesce(trace_id, '') AS trace_id,
            lower(substr(url, instr(url, '://') + 3)) AS rest
        FROM webhooks JOIN tasks USING (task_id) LEFT JOIN webhook_traces USING (task_id)
        WHERE webhooks.state = 'waiting' AND due <= ? AND tasks.state IN ('completed', 'failed', 'cancelled')
    ), addressed AS (
        SELECT *, substr(rest, 1, min(instr(rest || '/', '/'), instr(rest || '?', '?'), instr(rest || '#', '#'),
            CASE WHEN rest LIKE '[%' THEN instr(rest || ']', ']') + 1 ELSE instr(rest || ':', ':') END) - 1) AS host
        FROM waiting
    ), ranked AS (
        SELECT *, row_number() OVER (PARTITION BY credential, host ORDER BY due) AS place FROM addressed
    )
    SELECT task_id, due, credential, host, number, trace_id FROM ranked WHERE place <= ? ORDER BY place, due LIMIT ?
"""
MAX_DUE = 1000


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


@dataclass(frozen=True)
class DueWebhook:
    """A webhook that may be claimed: `credential` is whose task it is, `host` that of its receiver.

    `number` and `trace_id` are the task's, for the log.
    """

    task_id: str
    due: float
    credential: str
    host: str
    number: int
    trace_id: str


class WebhookStore:
    """The webhooks of one server, and how far each delivery is."""

    def __init__(self, state_dir: Path) -> None:
        self._database = StateDatabase(state_dir)
        # For lines of the log: no task waits for the disk because of them.
        self._traces = StateDatabase(state_dir, durable=False)

    def find(self, task_id: str) -> Webhook | None:
        """Return a task's webhook, if it has one; raises StorageFull."""
        rows = self._database.execute("SELECT * FROM webhooks WHERE task_id = ?", (task_id,))
        return next((Webhook(**row) for row in rows), None)

    def set_trace(self, task_id: str, trace_id: str) -> None:
        """Record the trace of a task's last attempt, if the task has a webhook; raises StorageFull."""
        self._traces.execute(
            "INSERT OR REPLACE INTO webhook_traces SELECT task_id, ? FROM webhooks WHERE task_id = ?",
            (trace_id, task_id),
        )

    def due(self, now: float, *, most_of_a_host: int) -> list[DueWebhook]:
        """Return the webhooks to be sent, at most so many of one credential to one host; raises StorageFull."""
        return [DueWebhook(**row) for row in self._database.execute(DUE, (now, most_of_a_host, MAX_DUE))]

    def claim(self, due: DueWebhook, now: float, *, lease: float) -> Webhook | None:
        """Claim a webhook for this process, or return None; if it dies, others may claim it after `lease` seconds.

        The attempt is counted before it is made, so that a webhook that kills its worker cannot kill every worker.
        Raises StorageFull.
        """
        rows = self._database.execute(
            "UPDATE webhooks SET due = ?, attempts = attempts + 1 "
            "WHERE task_id = ? AND state = 'waiting' AND due = ? RETURNING *",
            (now + lease, due.task_id, due.due),
        )
        return next((Webhook(**row) for row in rows), None)

    def deliver(self, task_id: str) -> None:
        """Record that the receiver accepted it; raises StorageFull."""
        self._database.execute("UPDATE webhooks SET state = 'delivered', error = NULL WHERE task_id = ?", (task_id,))

    def postpone(self, task_id: str, *, due: float, error: str) -> None:
        """Record a failed attempt; the next one is at `due`. Raises StorageFull."""
        self._database.execute("UPDATE webhooks SET due = ?, error = ? WHERE task_id = ?", (due, error, task_id))

    def give_up(self, task_id: str, *, error: str) -> None:
        """Record that it failed for the last time; raises StorageFull."""
        self._database.execute("UPDATE webhooks SET state = 'failed', error = ? WHERE task_id = ?", (error, task_id))
