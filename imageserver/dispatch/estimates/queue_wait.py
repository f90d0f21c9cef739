"""When a generation would be done: its own work after all the work that goes before it."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from imageserver.dispatch.jobs import Job
from imageserver.scheduling_policy import SchedulingPolicy


@dataclass(frozen=True)
class WaitEstimate:
    """Expected seconds: `own` on the device, `wait` before that; `position` is the number of jobs that go before."""

    own: float
    wait: float
    position: int

    @property
    def total(self) -> float:
        return self.wait + self.own


def estimate_wait(job: Job, running: Iterable[Job], waiting: Iterable[Job], now: float, *, room: bool) -> WaitEstimate:
    """Return how long `job` waits and runs, served in the order of the scheduling policy.

    If the engine has room, the job shares the device with the running ones; otherwise they finish first.
    """
    before = {other.id: other for other in running if other.id != job.id}
    rivals = {other.id: other for other in waiting if other.id != job.id}
    if room:
        rivals, before = rivals | before, {}
    claims = SchedulingPolicy().simulate([job.claim(), *(other.claim() for other in rivals.values())], now)
    ahead = [rivals[claim.owner] for claim in itertools.takewhile(lambda claim: claim.owner != job.id, claims)]
    ahead += before.values()
    return WaitEstimate(own=job.remaining, wait=sum(other.remaining for other in ahead), position=len(ahead))
