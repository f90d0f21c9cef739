"""The tasks of this process that could not run yet: for how long each waits before its next attempt, and why."""

from dataclasses import dataclass

MAX_PAUSE_SECONDS = 60.0
# Those that ended in another process are never forgotten by name, so the oldest make room.
MAX_TASKS = 10_000


@dataclass(frozen=True)
class TaskWait:
    """The seconds before the next attempt, and why the last one could not run; `is_new` if that is another reason."""

    pause: float
    reason: str
    is_new: bool


class TaskWaits:
    """A task waits twice as long after each attempt, up to a minute."""

    def __init__(self) -> None:
        self._waits: dict[str, TaskWait] = {}

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._waits

    def extend(self, task_id: str, reason: str, first_pause: float, *, grows: bool = True) -> TaskWait:
        """Return how long a task waits now: `first_pause` seconds, or more where this grows with its attempts."""
        last = self._waits.pop(task_id, None)
        longer = min(2 * last.pause, MAX_PAUSE_SECONDS) if last and grows else 0.0
        wait = TaskWait(max(first_pause, longer), reason, is_new=last is None or last.reason != reason)
        self._waits[task_id] = wait
        if len(self._waits) > MAX_TASKS:
            del self._waits[next(iter(self._waits))]
        return wait

    def end(self, task_id: str) -> None:
        """Forget a task that runs, or has ended."""
        self._waits.pop(task_id, None)
