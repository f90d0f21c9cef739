"""When a generation would be done: its own work after all the work that goes before it on its seat."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from imageserver.dispatch.jobs import Job
from imageserver.scheduling_policy import Claim, ClaimOrder, SchedulingPolicy, by_credential, work_ahead

# One by one, a thousand jobs take longer than a decision may: 2 ms. The shares of so many are even anyhow.
MAX_SIMULATED = 128


@dataclass(frozen=True)
class WaitEstimate:
    """Expected seconds: `own` on the device, `wait` before that; `position` is the number of jobs that go before."""

    own: float
    wait: float
    position: int

    @property
    def total(self) -> float:
        return self.wait + self.own


@dataclass(frozen=True)
class SeatLoad:
    """What runs on a seat, whether it has room for one more job, and how much longer than others its device takes."""

    running: Sequence[Job] = ()
    room: bool = False
    pace: float = 1.0


def estimate_wait(job: Job, seats: Sequence[SeatLoad], waiting: Iterable[ClaimOrder], now: float) -> WaitEstimate:
    """Return how long `job` waits and runs, served in the order of the scheduling policy by whichever seat is free.

    What waits is in one order for each credential. Where a seat has room, the job shares its device with the running
    ones; otherwise they finish first.
    """
    seats = seats or [SeatLoad()]
    own_seat = next((index for index, seat in enumerate(seats) if job in seat.running), None)
    seconds, before = [0.0] * len(seats), 0
    queues, beside = list(waiting), list[Claim]()
    runs_on: dict[int, int] = {}
    for index, seat in enumerate(seats):
        running = [other for other in seat.running if other is not job]
        if seat.room:
            beside += [other.claim for other in running]
            runs_on |= {other.id: index for other in running}
        else:
            seconds[index] = sum(other.remaining for other in running)
            before += len(running)

    if own_seat is None and sum(map(len, queues)) + len(beside) >= MAX_SIMULATED:
        ahead = work_ahead(job.claim, [*queues, *by_credential(beside)], now)
        wait = _level(seconds, seats, ahead.seconds)
        pace = min(seat.pace for seat in seats)
        return WaitEstimate(own=job.remaining * pace, wait=wait, position=before + ahead.count)
    claims = [job.claim, *(claim for claim in chain(*queues) if claim.owner != job.id), *beside]
    paces = [seat.pace for seat in seats]

    def first_done(work: float) -> tuple[int, float]:
        """Return the seat that would be done with so much more work first, and when; called for every rival."""
        ends = [busy + work * pace for busy, pace in zip(seconds, paces, strict=True)]
        end = min(ends)
        return ends.index(end), end

    for claim in SchedulingPolicy().simulate(claims, now):
        if claim.owner == job.id:
            break
        before += 1
        if claim.owner in runs_on:
            seconds[runs_on[claim.owner]] += claim.remaining
        else:
            index, end = first_done(claim.remaining)
            seconds[index] = end
    if own_seat is not None:
        return WaitEstimate(own=job.remaining, wait=seconds[own_seat], position=before)
    index, _ = first_done(job.remaining)
    own = job.remaining * seats[index].pace
    return WaitEstimate(own=own, wait=seconds[index], position=before if seconds[index] or len(seats) == 1 else 0)


def _level(seconds: Sequence[float], seats: Sequence[SeatLoad], work: float) -> float:
    """Return when the first seat is free, if so much work is poured over those that are free first."""
    level, rate = 0.0, 0.0
    for busy, seat in sorted(zip(seconds, seats, strict=True), key=lambda pair: pair[0]):
        if rate and level + work / rate <= busy:
            break
        work -= (busy - level) * rate
        level, rate = busy, rate + 1 / seat.pace
    return level + work / rate
