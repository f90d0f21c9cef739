"""When a generation would be done: its own work after all the work that goes before it."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from imageserver.dispatch.jobs import Job
from imageserver.turn_order import TurnOrder


@dataclass(frozen=True)
class Outlook:
    """Expected seconds: `own` on the device, `wait` before that; `position` is the number of jobs that go before."""

    own: float
    wait: float
    position: int

    @property
    def total(self) -> float:
        """Seconds until the pictures are there."""
        return self.wait + self.own


def outlook(job: Job, others: Iterable[Job]) -> Outlook:
    """Return the outlook of `job` among the running and waiting `others`, served in the order of turns."""
    known = {other.id: other for other in others if other.id != job.id}
    claims = TurnOrder().sort([job.claim(), *(other.claim() for other in known.values())], time.monotonic())
    ahead = [known[claim.owner] for claim in claims[: [claim.owner for claim in claims].index(job.id)]]
    return Outlook(own=job.work, wait=sum(other.remaining for other in ahead), position=len(ahead))
