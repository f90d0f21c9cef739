"""The one process that every HTTP worker shares: it queues jobs, gives them to the engine and tells who waits."""

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import os
import time

import msgspec

from imageserver.dispatch.admission import refuse_if_full, refuse_if_hopeless, refuse_if_too_late
from imageserver.dispatch.engine_process import EngineProcess
from imageserver.dispatch.estimates.estimator import Estimator
from imageserver.dispatch.estimates.pending_estimates import PendingEstimates
from imageserver.dispatch.estimates.queue_wait import WaitEstimate, estimate_wait
from imageserver.dispatch.job_records import JobRecords
from imageserver.dispatch.jobs import Job, JobState, Listener, Tally, Waiter
from imageserver.dispatch.model_loading import LoadEnded, ModelLoading
from imageserver.dispatch.queue import JobQueue
from imageserver.dispatch.single_flight import SingleFlight
from imageserver.dispatch.snapshot_broadcast import SnapshotBroadcast
from imageserver.errors import Cancelled, DeadlineExceeded, Draining, EngineUnavailable, OutOfMemory, ServiceError
from imageserver.generation import Generation, Outcome
from imageserver.protocol.channel import Address
from imageserver.protocol.messages import (
    CacheHit,
    EstimateRequest,
    Failed,
    Finished,
    LoadProgress,
    ModelFetched,
    ModelRequest,
    ModelsLoaded,
    Preview,
    Progress,
    Queued,
    Run,
    Snapshot,
    Started,
    Submit,
    TokenCountRequest,
    TokenCounts,
    failed,
)
from imageserver.scheduling_policy import CLASSES
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

MAX_ENGINE_DEATHS = 2
# How long a job outlives a client that may come back: SDKs retry within eight seconds.
RETURN_SECONDS = 30.0


class Dispatcher:
    """Owns the queue, the running jobs and the engine."""

    def __init__(self, settings: Settings, address: Address) -> None:
        self._queue = JobQueue()
        self._max_jobs = settings.max_queue
        self._running: dict[int, Job] = {}
        self._jobs: dict[int, Job] = {}
        self._waiting_for: dict[int, Job] = {}
        self._single_flight = SingleFlight()
        self._inspections = PendingEstimates()
        self._tally = Tally()
        self.job_records = JobRecords()
        self._expectations = Estimator()
        self._announcements = SnapshotBroadcast(self.snapshot)
        self._supervision: asyncio.Task[None] | None = None
        self.engine = EngineProcess(settings, self, address)
        self.models = ModelLoading(self.engine, self.job_records)

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
        self._announcements.join(worker)

    def leave(self, worker: Listener) -> None:
        """Cancel everything that `worker` waited for."""
        self._announcements.leave(worker)
        for job in list(self._jobs.values()):
            for waiter in [waiter for waiter in job.waiters if waiter.worker is worker]:
                self.cancel(waiter.id)

    def submit(self, request: Submit, worker: Listener, source: bytes = b"") -> None:
        """Queue a job, or let the client join what was asked for before; a refusal is sent like any other failure."""
        self._tally.total += 1
        same = self._single_flight.find(request)
        if same is not None and self._is_of_one_model(request.generation, same.generation):
            # A retry gets the images of the seed that its first try was given.
            generation = dataclasses.replace(request.generation, seed=same.generation.seed)
            request = msgspec.structs.replace(request, generation=generation)
        else:
            same = None
        listener = self.job_records.open(request, worker)
        waiter = Waiter(request.job, listener, worker, request.timeout)
        if same is not None:
            self._join(waiter, same, request)
            return
        job = self._new_job(request.job, self.models.named(request.generation), request.credential, request.twin_key)
        job.source = source
        try:
            refuse_if_hopeless(self.engine)
            self._refuse_if_full()
            self._expectations.refuse_if_too_large(job.generation, self.models)
            self._refuse_if_too_late(job, request.patience)
        except ServiceError as error:
            self._release(waiter, "failed")
            listener.send(failed(request.job, error))
            return
        self._jobs[job.id] = job
        self._single_flight.add(job)
        self._welcome(waiter, job)
        self._queue.push(job)
        self._pump()
        self.engine_changed()

    def _is_of_one_model(self, *generations: Generation) -> bool:
        return len({self.models.named(generation).model for generation in generations}) == 1

    def _join(self, waiter: Waiter, twin: Job, request: Submit) -> None:
        waiter.joined = True
        if twin.result is not None:
            finished, raw = twin.result
            self._single_flight.join(waiter.id, twin)
            self._release(waiter, "completed")
            waiter.tell(_for_waiter(finished, twin, waiter), raw)
            return
        try:
            self._refuse_if_too_late(twin, request.patience)
        except ServiceError as error:
            self._release(waiter, "failed")
            waiter.tell(failed(waiter.id, error))
            return
        if CLASSES[request.generation.priority] < CLASSES[twin.generation.priority] and twin.state == "queued":
            twin.generation = dataclasses.replace(twin.generation, priority=request.generation.priority)
        self._welcome(waiter, twin)
        if twin.begun:
            waiter.tell(Started(job=twin.id))

    def note(self, request: CacheHit, worker: Listener) -> None:
        """Count a request that a worker answered from the cache."""
        self._tally.total += 1
        self._tally.count_end("completed")
        self.job_records.note(request, worker)

    def ask(self, request: EstimateRequest, listener: Listener) -> None:
        """Answer when a generation would be done if it came now, and what the engine would read of it."""
        generation = self.models.named(request.generation)
        expected = self.estimate_wait(self._new_job(request.job, generation, request.credential, None))
        forecast = self._expectations.forecast(request.job, generation, self.models, expected)
        inspection = TokenCountRequest(job=request.job, generation=generation)
        if request.inspect and generation.model in self.models.loaded and self.engine.inspect(inspection):
            self._inspections.wait(listener, forecast)
        else:
            listener.send(forecast)

    def inspected(self, message: TokenCounts) -> None:
        """Complete the forecast that waits for what the engine would read."""
        self._inspections.take(message)

    def cancel(self, waiter_id: int) -> None:
        """Let a client go; a job that nobody waits for any more is stopped wherever it is."""
        self.models.withdraw(waiter_id)
        self._dismiss(waiter_id, "cancelled", Cancelled("The generation was cancelled."))

    def client_left(self, number: int) -> None:
        """Keep a job for a while whose client has left and may come back."""
        self._single_flight.client_left(number)
        if number in self._waiting_for:
            asyncio.get_running_loop().call_later(RETURN_SECONDS, self.cancel, number)

    def snapshot(self) -> Snapshot:
        """Return the state of the service."""
        engine = self.engine
        state = {"ready": "healthy", "loading": "loading"}.get(engine.state, "degraded")
        beside = engine.loading or self.models.download
        return Snapshot(
            state=state,
            reason=beside.sentence if beside else engine.reason,
            phase=beside.phase if beside else engine.phase,
            load_fraction=beside.fraction if beside else engine.fraction,
            info=self.models.info if engine.ready else None,
            default=self.models.default,
            models=tuple(self.models.known.values()),
            loaded=self.models.loaded,
            queue_length=len(self._queue) + self.models.requests_waiting,
            active=len(self._running),
            total=self._tally.total,
            completed=self._tally.completed,
            failed=self._tally.failed,
            cancelled=self._tally.cancelled,
            engine_restarts=engine.restarts,
            queue_wait=self._queue_wait(),
            estimate_error=self._expectations.costs.median_error,
            usage=engine.usage,
            dispatcher_pid=os.getpid(),
            engine_pid=engine.pid,
        )

    def engine_changed(self) -> None:
        """Use an engine that has become ready, and send a snapshot: at once when the state is another, else soon."""
        self._pump()
        if self.engine.state == "failed":
            for job in list(self._jobs.values()):
                self._end(job, "failed", failed(job.id, EngineUnavailable(self.engine.reason)))
        self._announcements.change(self.engine.state)

    def job_event(self, message: Started | Progress | Preview | Finished | Failed, raw: bytes) -> None:
        """Pass an engine's news on; news of a job that nobody waits for any more only frees its place."""
        job = self._jobs.get(message.job)
        if isinstance(message, Finished | Failed):
            self._running.pop(message.job, None)
        if job is not None:
            match message:
                case Finished():
                    self._learn(job, message.outcome)
                    self._end(job, "completed", message, raw)
                case Failed():
                    if message.code == OutOfMemory.code and not self._running:
                        self._expectations.learn_failure(job.generation, self.models)
                    self._end(job, "failed", message)
                case Progress():
                    job.share_done = message.step / message.total
                    self._tell_all(job, message)
                case Started():
                    job.begun = True
                    self._tell_all(job, message)
                case Preview():
                    self._tell_all(job, message, raw)
        if isinstance(message, Finished | Failed):
            self.engine_changed()

    def models_held(self, message: ModelsLoaded) -> None:
        """Use a model that has been loaded, or end what waited for it in vain."""
        if message.job == 0:  # a new engine, which may have been unable to begin with the usual model
            self.models.default = message.models[0].name
        ended = self.models.take(message)
        # At once: neither an image nor an answer may arrive before the facts of its model.
        self._announcements.tell()
        self._after_load(ended)
        self._pump()

    def ask_model(self, question: ModelRequest, worker: Listener) -> None:
        """Load or unload a model for a client; a request that waits for its model takes a place like any other."""
        if question.prompt is not None:
            try:
                refuse_if_hopeless(self.engine)
                self._refuse_if_full()
            except ServiceError as error:
                self._tally.total += 1
                self._tally.count_end("failed")
                worker.send(failed(question.job, error))
                return
        self.models.ask(question, worker)
        self._announcements.tell()
        self.models.answer()

    def model_progress(self, message: LoadProgress) -> None:
        """Tell those who wait for a model how far it has come."""
        self.models.heed_progress(message)
        self.engine_changed()

    def model_fetched(self, message: ModelFetched) -> None:
        """Load a model whose files have come, or tell those who wait that they cannot."""
        self.models.take_fetched(message)
        self.models.answer()
        self.engine_changed()

    def _after_load(self, ended: LoadEnded | None, spared: str = "") -> None:
        self.models.answer()
        if ended is not None and ended.failure is not None and ended.name != spared:
            for job in [job for job in self._queue if job.generation.model == ended.name]:
                self._end(job, "failed", failed(job.id, ended.failure))

    def engine_lost(self, *, silent: bool) -> None:
        """Run the jobs of a dead engine again; fail those that have killed two, or that it went silent over."""
        self._after_load(self.models.engine_lost(), spared=self.models.default)  # a new engine begins with that one
        lost, self._running = list(self._running.values()), {}
        for job in lost:
            if job.id not in self._jobs:
                continue
            job.engine_deaths += 1
            if silent and (len(lost) == 1 or job.engine_deaths >= MAX_ENGINE_DEATHS):
                error: ServiceError = DeadlineExceeded("The engine stopped answering while it ran this generation.")
            elif job.engine_deaths >= MAX_ENGINE_DEATHS or self.engine.state == "failed":
                error = EngineUnavailable("The engine died while it ran this generation.", retry_after=5)
            else:
                job.state, job.share_done, job.begun = "queued", 0.0, False
                self._queue.push(job)
                continue
            self._end(job, "failed", failed(job.id, error))
        self.engine_changed()

    def _refuse_if_full(self) -> None:
        refuse_if_full(len(self._jobs) + self.models.requests_waiting, self._max_jobs, self._queue_wait())

    def _refuse_if_too_late(self, job: Job, patience: float | None) -> None:
        if patience is not None and self._expectations.costs.learnt:
            refuse_if_too_late(self.estimate_wait(job), patience)

    def _pump(self) -> None:
        """Give waiting jobs to the engine while it has room."""
        while self.engine.listens and (job := self._queue.peek(lambda each: self.models.holds_back(each.generation))):
            job.generation = self.models.named(job.generation)
            if not (self._may_join(job) and self.models.may_run(job.generation.model) and self._has_room(job)):
                return
            self._queue.take(job)
            job.state, job.started = "processing", time.monotonic()
            self._running[job.id] = job
            waited = job.started - job.arrived
            run = Run(job=job.id, generation=job.generation, credential=job.credential, waited=waited)
            self.engine.run(run, job.source)

    def _has_room(self, job: Job) -> bool:
        return self.engine.has_room(self.models.info_of(job.generation))

    def _may_join(self, job: Job) -> bool:
        """Let a job that has lost an engine run alone: one that kills engines must not take its neighbours along."""
        suspects = job.engine_deaths or any(other.engine_deaths for other in self._running.values())
        return not (suspects and self._running)

    def _new_job(self, number: int, generation: Generation, credential: str, twin_key: str | None) -> Job:
        work = self._expectations.costs.seconds(generation)
        return Job(number, generation, [], credential=credential, twin_key=twin_key, work=work)

    def _learn(self, job: Job, outcome: Outcome) -> None:
        """Learn from a finished job, also for those that were estimated before it."""
        self._expectations.learn(job.generation, self.models, outcome)
        for other in self._jobs.values():
            other.work = self._expectations.costs.seconds(other.generation)

    def job_of(self, request: int) -> Job | None:
        """Return the job that a request waits for."""
        return self._waiting_for.get(request)

    def estimate_wait(self, job: Job) -> WaitEstimate:
        """Return when a job would be done, as things stand."""
        return estimate_wait(job, self._running.values(), self._queue, room=self._has_room(job))

    def _queue_wait(self) -> float:
        return round(sum(job.remaining for job in itertools.chain(self._running.values(), self._queue)), 3)

    def _welcome(self, waiter: Waiter, job: Job) -> None:
        """Let a client wait for a job, and tell it what to expect."""
        expected = self.estimate_wait(job)
        waiter.tell(Queued(job=waiter.id, own=expected.own, wait=expected.wait, position=expected.position))
        job.waiters.append(waiter)
        self._single_flight.join(waiter.id, job)
        self._waiting_for[waiter.id] = job
        waiter.timer = asyncio.get_running_loop().call_later(waiter.timeout, self._expire, waiter)

    def _expire(self, waiter: Waiter) -> None:
        job = self._waiting_for[waiter.id]
        where = "was waiting in the queue" if job.state == "queued" else "was running"
        if job.state == "queued" and self.engine.state != "ready":
            where = f"waited for the model ({self.engine.reason})"
        error = DeadlineExceeded(f"The time limit of {waiter.timeout:g} s passed while it {where}.")
        self._dismiss(waiter.id, "failed", error)

    def _dismiss(self, waiter_id: int, state: JobState, error: ServiceError) -> None:
        """Answer one client; the device is freed at the next step when it was the job's last."""
        job = self._waiting_for.get(waiter_id)
        if job is None:
            return
        if len(job.waiters) == 1:
            if job.id in self._running:
                self.engine.cancel(job.id)
            self._end(job, state, failed(job.id, error))
            self.engine_changed()
            return
        waiter = next(waiter for waiter in job.waiters if waiter.id == waiter_id)
        job.waiters.remove(waiter)
        self._release(waiter, state)
        waiter.tell(failed(waiter.id, error))

    def _end(self, job: Job, state: JobState, message: Finished | Failed, raw: bytes = b"") -> None:
        """Answer everybody who waits for the job and forget it."""
        job.state = state
        self._jobs.pop(job.id, None)
        self._queue.remove(job)
        self._single_flight.end(job, (message, raw) if isinstance(message, Finished) else None)
        for waiter in job.waiters:
            self._release(waiter, state)
            waiter.tell(_for_waiter(message, job, waiter), raw)

    def _release(self, waiter: Waiter, state: JobState) -> None:
        self._waiting_for.pop(waiter.id, None)
        if waiter.timer is not None:
            waiter.timer.cancel()
        self._tally.count_end(state)
        self._single_flight.answer(waiter.id, state)

    def _tell_all(self, job: Job, message: Started | Progress | Preview, raw: bytes = b"") -> None:
        for waiter in job.waiters:
            waiter.tell(message, raw)


def _for_waiter(message: Finished | Failed, job: Job, waiter: Waiter) -> Finished | Failed:
    """Return the news with the waiter's own queue time."""
    if isinstance(message, Failed):
        return message
    queue_time = max(0.0, (job.started or waiter.arrived) - waiter.arrived)
    outcome = dataclasses.replace(message.outcome, queue_time=queue_time)
    return Finished(job=waiter.id, outcome=outcome, joined=waiter.joined)
