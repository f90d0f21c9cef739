"""The jobs that wait, in the order in which they will be served."""

from collections.abc import Callable, Iterator

from imageserver.dispatch.jobs import Job
from imageserver.generation import Generation
from imageserver.scheduling_policy import Claim, ClaimOrder, SchedulingPolicy, by_credential


class JobQueue:
    """Jobs that have lost an engine go first; the others by `SchedulingPolicy`.

    A thousand jobs are neither sorted nor looked at for each decision: each key's are kept in their order.
    """

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._lost: dict[int, Job] = {}
        self._by_credential: dict[str, ClaimOrder] = {}
        self._policy = SchedulingPolicy()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    @property
    def claims(self) -> list[ClaimOrder]:
        """The claims of all jobs, each credential's in their order."""
        return [*self._by_credential.values(), *by_credential(job.claim for job in self._lost.values())]

    def push(self, job: Job) -> None:
        self._jobs[job.id] = job
        if job.engine_deaths:
            self._lost[job.id] = job
        else:
            self._by_credential.setdefault(job.credential, ClaimOrder()).add(job.claim)

    def move(self, job: Job) -> None:
        """Give a job whose work or priority has changed its new place."""
        self.remove(job)
        self.push(job)

    def estimate(self, seconds: Callable[[Generation], float]) -> None:
        """Expect other work of all jobs, and give each its new place."""
        claims: dict[str, list[Claim]] = {}
        for job in self._jobs.values():
            job.work = seconds(job.generation)
            if not job.engine_deaths:
                claims.setdefault(job.credential, []).append(job.claim)
        self._by_credential = {credential: ClaimOrder(own) for credential, own in claims.items()}

    def in_order(self, now: float, is_held_back: Callable[[Job], bool] | None = None) -> Iterator[Job]:
        """Yield the jobs that are not held back, in the order in which they are served as things stand."""
        for job in sorted(self._lost.values(), key=lambda job: job.arrived):
            if is_held_back is None or not is_held_back(job):
                yield job
        credentials = set(self._by_credential)
        if is_held_back is not None:
            ready = (job for job in self._jobs.values() if not job.engine_deaths and not is_held_back(job))
            credentials = {job.credential for job in ready}
        for credential in self._policy.order(credentials):
            for claim in self._by_credential[credential].at(now):
                job = self._jobs[claim.owner]
                if is_held_back is None or not is_held_back(job):
                    yield job

    def pop(self, job: Job) -> None:
        """Remove a job that is served now, and charge its work to its credential."""
        self.remove(job)
        self._policy.charge(job.credential, job.work)

    def remove(self, job: Job) -> None:
        """Remove a job that is not served; one that does not wait is ignored."""
        if self._jobs.pop(job.id, None) is None or self._lost.pop(job.id, None) is not None:
            return
        order = self._by_credential[job.credential]
        order.remove(job.id)
        if not order:
            del self._by_credential[job.credential]
