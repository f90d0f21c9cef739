"""The one process that every HTTP worker shares: it queues jobs, gives them to the engine and tells who waits."""

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import os
import time

from imageserver.channel import Address
from imageserver.dispatch.estimates import CostModel
from imageserver.dispatch.jobs import Job, JobState, Listener, Tally
from imageserver.dispatch.queue import JobQueue
from imageserver.dispatch.supervision import Engine
from imageserver.errors import (
    Cancelled,
    DeadlineExceeded,
    Draining,
    EngineUnavailable,
    QueueFull,
    ServiceError,
)
from imageserver.errors import Loading as StillLoading
from imageserver.messages import Failed, Finished, Progress, Run, Snapshot, Started, Submit, failed
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

MAX_ENGINE_DEATHS = 2
SNAPSHOT_PAUSE = 0.05


class Dispatcher:
    """Owns the queue, the running jobs and the engine."""

    def __init__(self, settings: Settings, address: Address) -> None:
        self._queue = JobQueue()
        self._max_jobs = settings.max_queue
        self._running: dict[int, Job] = {}
        self._jobs: dict[int, Job] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._tally = Tally()
        self._costs = CostModel()
        self._workers: set[Listener] = set()
        self._snapshot_due = False
        self._last_snapshot = 0.0
        self._supervision: asyncio.Task[None] | None = None
        self.engine = Engine(settings, self, address)

    def start(self) -> None:
        """Start the engine."""
        self._supervision = asyncio.create_task(self.engine.supervise())

    async def stop(self) -> None:
        """Fail what waits and runs, then end the engine."""
        for job in list(self._jobs.values()):
            self._end(job, "failed", failed(job.id, Draining("The server is stopping.")))
        await self.engine.stop()
        if self._supervision is not None:
            self._supervision.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervision

    def join(self, worker: Listener) -> None:
        """Tell `worker` the state now and at every change."""
        self._workers.add(worker)
        worker.send(self.snapshot())

    def leave(self, worker: Listener) -> None:
        """Cancel everything that `worker` waited for."""
        self._workers.discard(worker)
        for job in [job for job in self._jobs.values() if job.listener is worker]:
            self.cancel(job.id)

    def submit(self, request: Submit, listener: Listener) -> None:
        """Queue a job; a refusal is sent like any other failure."""
        job = Job(id=request.job, generation=request.generation, listener=listener, timeout=request.timeout)
        self._tally.total += 1
        try:
            self._refuse_if_hopeless()
            self._refuse_if_full()
        except ServiceError as error:
            self._tally.count_end("failed")
            listener.send(failed(job.id, error))
            return
        self._jobs[job.id] = job
        self._queue.push(job)
        self._timers[job.id] = asyncio.get_running_loop().call_later(job.timeout, self._expire, job)
        self._pump()
        self.engine_changed()

    def cancel(self, job_id: int) -> None:
        """Stop a job wherever it is."""
        job = self._jobs.get(job_id)
        if job is not None:
            self._abandon(job, "cancelled", Cancelled("The generation was cancelled."))

    def snapshot(self) -> Snapshot:
        """Return the state of the service."""
        engine = self.engine
        state = {"ready": "healthy", "loading": "loading"}.get(engine.state, "degraded")
        return Snapshot(
            state=state,
            reason=engine.reason,
            phase=engine.phase,
            load_fraction=engine.fraction,
            facts=engine.ready.facts if engine.ready else None,
            queue_length=len(self._queue),
            active=len(self._running),
            total=self._tally.total,
            completed=self._tally.completed,
            failed=self._tally.failed,
            cancelled=self._tally.cancelled,
            engine_restarts=engine.restarts,
            queue_wait=self._queue_wait(),
            dispatcher_pid=os.getpid(),
            engine_pid=engine.pid,
        )

    def engine_changed(self) -> None:
        """Send a snapshot soon, and use an engine that has become ready at once."""
        self._pump()
        if self.engine.state == "failed":
            for job in list(self._jobs.values()):
                self._end(job, "failed", failed(job.id, EngineUnavailable(self.engine.reason)))
        if not self._snapshot_due:
            pause = max(0.0, self._last_snapshot + SNAPSHOT_PAUSE - time.monotonic())
            self._snapshot_due = True
            asyncio.get_running_loop().call_later(pause, self._send_snapshot)

    def job_event(self, message: Started | Progress | Finished | Failed, raw: bytes) -> None:
        """Pass an engine's news on; news of a job that nobody waits for any more only frees its place."""
        job = self._jobs.get(message.job)
        if isinstance(message, Finished | Failed):
            self._running.pop(message.job, None)
        if job is not None:
            match message:
                case Finished():
                    self._costs.observe(job.generation, message.outcome.inference_time)
                    queue_time = (job.started or job.arrived) - job.arrived
                    outcome = dataclasses.replace(message.outcome, queue_time=queue_time)
                    self._end(job, "completed", Finished(job=job.id, outcome=outcome), raw)
                case Failed():
                    self._end(job, "failed", message)
                case _:
                    job.listener.send(message)
        if isinstance(message, Finished | Failed):
            self.engine_changed()

    def engine_lost(self, *, silent: bool) -> None:
        """Run the jobs of a dead engine again; fail those that have killed two, or that it went silent over."""
        lost, self._running = list(self._running.values()), {}
        for job in reversed(lost):
            if job.id not in self._jobs:
                continue
            job.engine_deaths += 1
            if silent:
                error: ServiceError = DeadlineExceeded("The engine stopped answering while it ran this generation.")
            elif job.engine_deaths >= MAX_ENGINE_DEATHS or self.engine.state == "failed":
                error = EngineUnavailable("The engine died while it ran this generation.", retry_after=5)
            else:
                job.state = "queued"
                self._queue.push_back_in_front(job)
                continue
            self._end(job, "failed", failed(job.id, error))
        self.engine_changed()

    def _refuse_if_hopeless(self) -> None:
        if self.engine.state == "failed":
            raise EngineUnavailable(self.engine.reason)
        if self.engine.state == "loading" and self.engine.phase == "downloading":
            raise StillLoading(f"The model is being downloaded: {self.engine.reason}", retry_after=30)

    def _refuse_if_full(self) -> None:
        if len(self._jobs) >= self._max_jobs:
            # A place is free as soon as the next job ends.
            pause = max(1.0, self._queue_wait() / len(self._jobs))
            raise QueueFull(
                f"The server is full: {self._max_jobs} generations run or wait (MAX_QUEUE).", retry_after=pause
            )

    def _pump(self) -> None:
        """Give waiting jobs to the engine while it has room."""
        while self.engine.has_room and len(self._queue) and self._may_join(self._queue.peek()):
            job = self._queue.pop()
            job.state, job.started = "processing", time.monotonic()
            self._running[job.id] = job
            waited = job.started - job.arrived
            self.engine.run(Run(job=job.id, generation=job.generation, waited=waited))

    def _may_join(self, job: Job) -> bool:
        """Let a job that has lost an engine run alone: one that kills engines must not take its neighbours along."""
        suspects = job.engine_deaths or any(other.engine_deaths for other in self._running.values())
        return not (suspects and self._running)

    def _queue_wait(self) -> float:
        jobs = itertools.chain(self._running.values(), self._queue)
        return round(sum(self._costs.seconds(job.generation) for job in jobs), 3)

    def _expire(self, job: Job) -> None:
        where = "was waiting in the queue" if job.state == "queued" else "was running"
        if job.state == "queued" and self.engine.state != "ready":
            where = f"waited for the model ({self.engine.reason})"
        self._abandon(job, "failed", DeadlineExceeded(f"The time limit of {job.timeout:g} s passed while it {where}."))

    def _abandon(self, job: Job, state: JobState, error: ServiceError) -> None:
        """End a job now; an engine that runs it frees the device at the next step."""
        self._queue.remove(job)
        if job.id in self._running:
            self.engine.cancel(job.id)
        self._end(job, state, failed(job.id, error))
        self.engine_changed()

    def _end(self, job: Job, state: JobState, message: Finished | Failed, raw: bytes = b"") -> None:
        job.state = state
        self._jobs.pop(job.id, None)
        self._queue.remove(job)
        timer = self._timers.pop(job.id, None)
        if timer is not None:
            timer.cancel()
        self._tally.count_end(state)
        job.listener.send(message, raw)

    def _send_snapshot(self) -> None:
        self._snapshot_due, self._last_snapshot = False, time.monotonic()
        snapshot = self.snapshot()
        for worker in self._workers:
            worker.send(snapshot)
