"""The jobs that wait, in the order in which they will be served."""

from collections.abc import Callable, Iterator

from imageserver.dispatch.jobs import Job
from imageserver.scheduling_policy import SchedulingPolicy


class JobQueue:
    """Jobs that have lost an engine go first; the others by `SchedulingPolicy`."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._policy = SchedulingPolicy()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def push(self, job: Job) -> None:
        self._jobs[job.id] = job

    def peek(self, now: float, is_held_back: Callable[[Job], bool] = lambda job: False) -> Job | None:
        """Return the next of the jobs that are not held back and leave it; None when no such job waits."""
        ready = [job for job in self._jobs.values() if not is_held_back(job)]
        lost = [job for job in ready if job.engine_deaths]
        if lost or not ready:
            return min(lost, key=lambda job: job.arrived, default=None)
        claims = self._policy.sort([job.claim() for job in ready], now)
        return self._jobs[claims[0].owner]

    def pop(self, job: Job) -> None:
        """Remove a job that is served now, and charge its work to its credential."""
        del self._jobs[job.id]
        self._policy.charge(job.credential, job.work)

    def remove(self, job: Job) -> None:
        """Remove a job that is not served; one that does not wait is ignored."""
        self._jobs.pop(job.id, None)
