"""The jobs that wait, in the order in which they will be served."""

from collections import deque
from collections.abc import Iterator

from imageserver.dispatch.jobs import Job


class JobQueue:
    """First come, first served."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs)

    def push(self, job: Job) -> None:
        """Let `job` wait behind the others."""
        self._jobs.append(job)

    def push_back_in_front(self, job: Job) -> None:
        """Let a job that lost its engine go first."""
        self._jobs.appendleft(job)

    def peek(self) -> Job:
        """Return the next job and leave it; raises IndexError when none waits."""
        return self._jobs[0]

    def pop(self) -> Job:
        """Take the next job; raises IndexError when none waits."""
        return self._jobs.popleft()

    def remove(self, job: Job) -> None:
        """Forget a waiting job; one that does not wait is ignored."""
        if job in self._jobs:
            self._jobs.remove(job)
