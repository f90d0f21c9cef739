"""The jobs that wait, in the order in which they will be served."""

from collections import deque
from collections.abc import Iterator

from imageserver.dispatch.jobs import Job
from imageserver.errors import QueueFull


class JobQueue:
    """First come, first served, bounded."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs)

    def push(self, job: Job, *, retry_after: float) -> None:
        """Let `job` wait; raises QueueFull, which tells the client to come back after `retry_after` seconds."""
        if len(self._jobs) >= self._limit:
            raise QueueFull(
                f"The queue is full: {self._limit} generations are waiting (MAX_QUEUE).", retry_after=retry_after
            )
        self._jobs.append(job)

    def push_back_in_front(self, job: Job) -> None:
        """Let a job that lost its engine go first; it was admitted before and is never refused."""
        self._jobs.appendleft(job)

    def pop(self) -> Job:
        """Take the next job; raises IndexError when none waits."""
        return self._jobs.popleft()

    def remove(self, job: Job) -> None:
        """Forget a waiting job; one that does not wait is ignored."""
        if job in self._jobs:
            self._jobs.remove(job)
