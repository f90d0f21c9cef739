"""The jobs that wait, in the order in which they will be served."""

import time
from collections.abc import Iterator

from imageserver.dispatch.jobs import Job
from imageserver.turn_order import TurnOrder


class JobQueue:
    """Jobs that have lost an engine go first; the others by `TurnOrder`."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._order = TurnOrder()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def push(self, job: Job) -> None:
        """Let `job` wait."""
        self._jobs[job.id] = job

    def peek(self) -> Job:
        """Return the next job and leave it; raises IndexError when none waits."""
        lost = [job for job in self._jobs.values() if job.engine_deaths]
        if lost:
            return min(lost, key=lambda job: job.arrived)
        claims = self._order.sort([job.claim() for job in self._jobs.values()], time.monotonic())
        return self._jobs[claims[0].owner]

    def pop(self) -> Job:
        """Take the next job; raises IndexError when none waits."""
        job = self.peek()
        del self._jobs[job.id]
        self._order.charge(job.credential, job.work)
        return job

    def remove(self, job: Job) -> None:
        """Forget a waiting job; one that does not wait is ignored."""
        self._jobs.pop(job.id, None)
