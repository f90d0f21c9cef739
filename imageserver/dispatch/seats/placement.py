"""Which seat serves a job: the one where it is expected to be finished first.

A job that may begin now does not wait for another seat, unless waiting is sure to be faster: the free seat would have
to load the model first, or its device alone takes longer than the wait for a faster one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from imageserver.dispatch.jobs import Job
from imageserver.dispatch.seats.estimator import Estimator
from imageserver.dispatch.seats.seat import Seat
from imageserver.generation import Generation

# Until a model has been loaded once.
INITIAL_LOAD_SECONDS = 30.0
# Reading a LoRA from the disk and attaching it: a guess, their sizes differ by a hundred times.
LORA_SECONDS = 0.5
# What a batch mate costs of the time that it takes alone: eight of 512 x 512 take 0.425 s in one forward and 1.336 s
# in eight (the published curve of Qwen-Image on an H200).
COMPANION_SHARE = 0.32

# Seats measure alike devices a little differently: no free seat stays empty for less.
MIN_GAIN = 1.25


@dataclass
class Placement:
    """One pass over the queue: the seats that are still open to jobs, and the work that waits for each of them."""

    seats: list[Seat]
    estimator: Estimator
    waiting: dict[Seat, float] = field(default_factory=dict)
    closed: set[Seat] = field(default_factory=set)

    @property
    def is_over(self) -> bool:
        """Whether no seat can be given anything more in this pass."""
        return len(self.closed) == len(self.seats)

    def choose(self, job: Job) -> Seat | None:
        """Return the seat that a job is meant for, whether it may begin there now or not; None where none can do it."""
        generation = job.generation
        able = [seat for seat in self.seats if not seat.models.refuses(generation.model)]
        fitting = [seat for seat in able if self.estimator.obstacle(seat, generation) is None]
        # Where it fits nowhere the engine has the last word. A caption waits for another seat that can write it.
        waits = not fitting and generation.caption and not self.estimator.common_obstacle(generation)
        able = fitting if fitting or waits else able
        if generation.enhancement is not None and not generation.enhancement.revised:
            # Elsewhere the prompt would be used as it is.
            able = [seat for seat in able if (info := seat.info_of(generation)) is None or info.enhances] or able
        free = [seat for seat in able if seat not in self.closed and may_begin(seat, job)]
        best = min(free, key=lambda seat: self._begin_now(seat, job), default=None)
        busy = [seat for seat in able if seat not in free]
        rival = min(busy, key=lambda seat: self._after_waiting(seat, job), default=None)
        if best is None or rival is None:
            return best or rival
        alone = self._load_seconds(best, generation) + self.estimator.seconds(best, generation)
        return best if alone <= MIN_GAIN * self._after_waiting(rival, job) else rival

    def wait_for(self, seat: Seat, job: Job) -> None:
        """Let a job wait for a seat: no later one is given to it in this pass, nor to another that is full now."""
        self.closed |= {seat, *(other for other in self.seats if other.is_full)}
        self.waiting[seat] = self.waiting.get(seat, 0.0) + self.estimator.seconds(seat, job.generation)

    def _begin_now(self, seat: Seat, job: Job) -> float:
        """Return when a job would be finished that begins now beside those that run."""
        generation = job.generation
        beside = sum(
            other.remaining * (COMPANION_SHARE if share_forwards(seat, other.generation, generation) else 1.0)
            for other in seat.running.values()
        )
        loras = LORA_SECONDS * len(set(generation.loras) - seat.attached)
        return self._load_seconds(seat, generation) + loras + beside + self.estimator.seconds(seat, generation)

    def _after_waiting(self, seat: Seat, job: Job) -> float:
        """Return when a job would be finished that begins once the seat is free."""
        before = seat.remaining + self.waiting.get(seat, 0.0)
        return before + self._load_seconds(seat, job.generation) + self.estimator.seconds(seat, job.generation)

    def _load_seconds(self, seat: Seat, generation: Generation) -> float:
        """Return how long the seat takes to load the generation's model; 0 where it has it."""
        if generation.model in seat.models.loaded:
            return 0.0
        times = (other.models.known[generation.model].load_time for other in self._that_know(seat, generation))
        return next(times, INITIAL_LOAD_SECONDS)

    def _that_know(self, seat: Seat, generation: Generation) -> Iterable[Seat]:
        return (other for other in (seat, *self.seats) if generation.model in other.models.known)


def may_begin(seat: Seat, job: Job) -> bool:
    """Return whether a job may be sent to a seat, or its model be loaded there, now.

    A job that has lost an engine runs alone: one that kills engines must not kill its neighbours.
    """
    if seat.models.loading is not None:
        # A model that waits for room would never get it if new jobs kept coming.
        return False
    if seat.running and (job.engine_deaths or any(other.engine_deaths for other in seat.running.values())):
        return False
    return job.generation.model not in seat.models.loaded or seat.has_room(job.generation)


def share_forwards(seat: Seat, one: Generation, other: Generation) -> bool:
    """Return whether the engine may compute two generations in one forward, and gains by it."""
    alike = all(getattr(one, name) == getattr(other, name) for name in ("model", "width", "height", "loras", "quality"))
    info = seat.info_of(one)
    gains = info is not None and info.device.batch_cap(one.width * one.height) > 1
    return alike and gains and not one.deterministic and not other.deterministic
