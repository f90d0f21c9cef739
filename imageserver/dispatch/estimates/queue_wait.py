"""When a generation would be done: its own work after all the work that goes before it on its seat."""

from collections.abc import Iterable, Sequence
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


@dataclass(frozen=True)
class SeatLoad:
    """What runs on a seat, whether it has room for one more job, and how much longer than others its device takes."""

    running: Sequence[Job] = ()
    room: bool = False
    pace: float = 1.0


def estimate_wait(job: Job, seats: Sequence[SeatLoad], waiting: Iterable[Job], now: float) -> WaitEstimate:
    """Return how long `job` waits and runs, served in the order of the scheduling policy by whichever seat is free.

    Where a seat has room, the job shares its device with the running ones; otherwise they finish first.
    """
    seats = seats or [SeatLoad()]
    own_seat = next((index for index, seat in enumerate(seats) if job in seat.running), None)
    seconds, before = [0.0] * len(seats), 0
    rivals: dict[int, tuple[Job, int | None]] = {other.id: (other, None) for other in waiting if other is not job}
    for index, seat in enumerate(seats):
        running = [other for other in seat.running if other is not job]
        if seat.room:
            rivals |= {other.id: (other, index) for other in running}
        else:
            seconds[index] = sum(other.remaining for other in running)
            before += len(running)

    def end_of(index: int, work: float) -> float:
        return seconds[index] + work * seats[index].pace

    def next_free(work: float) -> int:
        return min(range(len(seats)), key=lambda index: end_of(index, work))

    claims = [job.claim, *(other.claim for other, _ in rivals.values())]
    for claim in SchedulingPolicy().simulate(claims, now):
        if claim.owner == job.id:
            break
        before += 1
        runs_on = rivals[claim.owner][1]
        if runs_on is not None:
            seconds[runs_on] += claim.remaining
        else:
            index = next_free(claim.remaining)
            seconds[index] = end_of(index, claim.remaining)
    if own_seat is not None:
        return WaitEstimate(own=job.remaining, wait=seconds[own_seat], position=before)
    index = next_free(job.remaining)
    own = job.remaining * seats[index].pace
    return WaitEstimate(own=own, wait=seconds[index], position=before if seconds[index] or len(seats) == 1 else 0)
