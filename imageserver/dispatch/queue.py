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

    def in_order(self, now: float, is_held_back: Callable[[Job], bool] = lambda job: False) -> Iterator[Job]:
        """Yield the jobs that are not held back, in the order in which they are served as things stand.

        Most callers want the first one only, which is found without sorting the others.
        """
        ready = [job for job in self._jobs.values() if not is_held_back(job)]
        lost = sorted((job for job in ready if job.engine_deaths), key=lambda job: job.arrived)
        yield from lost
        claims = [job.claim for job in ready if not job.engine_deaths]
        if claims:
            first = self._policy.first(claims, now)
            yield self._jobs[first.owner]
            yield from (self._jobs[claim.owner] for claim in self._policy.sort(claims, now) if claim is not first)

    def pop(self, job: Job) -> None:
        """Remove a job that is served now, and charge its work to its credential."""
        del self._jobs[job.id]
        self._policy.charge(job.credential, job.work)

    def remove(self, job: Job) -> None:
        """Remove a job that is not served; one that does not wait is ignored."""
        self._jobs.pop(job.id, None)
