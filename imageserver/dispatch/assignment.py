"""Gives waiting jobs to free seats, and takes jobs back from seats whose engine has died."""

import asyncio
import itertools
import logging
from collections.abc import Callable

from imageserver.dispatch.job_table import JobTable
from imageserver.dispatch.jobs import Job
from imageserver.dispatch.models.model_loading import ModelLoading
from imageserver.dispatch.seats.estimator import Estimator
from imageserver.dispatch.seats.expected_work import ExpectedWork
from imageserver.dispatch.seats.idle_unload import IdleUnload
from imageserver.dispatch.seats.placement import Placement, may_begin
from imageserver.dispatch.seats.seat import Seat
from imageserver.dispatch.seats.seat_list import SeatList
from imageserver.errors import DeadlineExceeded, EngineUnavailable, OutOfMemory
from imageserver.protocol import messages

logger = logging.getLogger(__name__)

MAX_ENGINE_DEATHS = 2
# Jobs that a pass over the queue lets wait for their seats while another is open, but none of them is meant for it.
MAX_PASSED_OVER = 50
# All that it looks at, with those that no seat can do now: they keep no seat from others.
MAX_LOOKED_AT = 1000


class Assignment:
    """Decides which job runs next and where, and whether a dead engine's jobs run again."""

    def __init__(
        self, jobs: JobTable, seats: SeatList, models: ModelLoading, estimator: Estimator, idle: IdleUnload
    ) -> None:
        self._jobs = jobs
        self._seats = seats
        self._models = models
        self._estimator = estimator
        self._idle = idle
        self._expected_work = ExpectedWork(jobs.queue, seats, estimator)
        self._clock: Callable[[], float] = asyncio.get_running_loop().time

    def advance(self) -> None:
        """Give out jobs as long as there is a seat for one, and wake resting engines for the others."""
        ready = self._seats.ready
        while ready and self._start_next(ready):
            pass
        waiting = len(self._jobs.queue)
        if waiting and "idle" in self._seats.states:
            self._idle.wake(waiting)

    def end(self, seat: Seat, message: messages.Finished | messages.Failed) -> None:
        """Free a job's place, and learn from it, also for those that were estimated before it."""
        self._jobs.running.pop(message.job, None)
        job = seat.running.pop(message.job, None)
        if job is None or self._jobs.find(message.job) is None:
            return
        if isinstance(message, messages.Finished):
            self._estimator.observe(seat, job.generation, message.outcome)
            self._expected_work.update_soon()
        elif message.code == OutOfMemory.code and not seat.running:
            self._estimator.observe_failure(seat, job.generation)

    def requeue_lost(self, seat: Seat, *, silent: bool) -> list[Job]:
        """Return a dead engine's jobs to the queue, and return them.

        Those that have killed two, or during which it stopped responding, fail.
        """
        lost = seat.lose_engine()
        requeued: list[Job] = []
        for job in lost:
            self._jobs.running.pop(job.id, None)
            if job.state != "processing":  # it had ended already
                continue
            job.engine_deaths += 1
            logger.warning("The engine %s was lost while it ran this request.", seat.name, extra=job.log_fields)
            if silent and (len(lost) == 1 or job.engine_deaths >= MAX_ENGINE_DEATHS):
                self._jobs.fail(job, DeadlineExceeded("The engine stopped answering while it ran this generation."))
            elif job.engine_deaths >= MAX_ENGINE_DEATHS or self._seats.are_hopeless:
                error = EngineUnavailable("The engine died while it ran this generation.", retry_after=5)
                self._jobs.fail(job, error)
            else:
                self._jobs.requeue(job)
                requeued.append(job)
        return requeued

    def _start_next(self, ready: list[Seat]) -> bool:
        """Start the first job that is meant for a free seat; return False where there is none."""
        placement = Placement(ready, self._estimator)
        # Asking it of every job takes a part of each decision, and most of the time nothing is downloaded.
        is_held_back = (lambda job: self._models.holds_back(job.generation)) if self._models.is_downloading else None
        waiting = self._jobs.queue.in_order(self._clock(), is_held_back)
        # Not one more than is looked at: the second job is found by sorting all.
        passed_over = 0
        for job in itertools.islice(waiting, MAX_LOOKED_AT):
            job.generation = self._models.with_model_name(job.generation)
            seat = placement.choose(job)
            if seat is None:
                continue
            if seat in placement.closed or not may_begin(seat, job):
                placement.wait_for(seat, job)
            elif job.generation.model in seat.models.loaded:
                self._start(job, seat)
                return True
            else:
                self._models.load(seat, job.generation.model)
                placement.wait_for(seat, job)
            passed_over += 1
            if placement.is_over or passed_over == MAX_PASSED_OVER:
                return False
        return False

    def _start(self, job: Job, seat: Seat) -> None:
        self._jobs.start(job)
        job.work = self._estimator.seconds(seat, job.generation)
        self._idle.record_use(seat)
        seat.run(job, waited=self._clock() - job.arrived)
