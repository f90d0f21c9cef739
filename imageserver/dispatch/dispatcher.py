"""The one object that all HTTP workers share: it queues jobs, gives them to the engine and notifies their clients."""

import asyncio
import contextlib
import dataclasses
import os

import msgspec

from imageserver.dispatch.admission import refuse_if_hopeless, refuse_if_too_late
from imageserver.dispatch.engine_process import EngineProcess
from imageserver.dispatch.estimates.estimator import Estimator
from imageserver.dispatch.estimates.pending_estimates import PendingEstimate
from imageserver.dispatch.estimates.queue_wait import WaitEstimate, estimate_wait
from imageserver.dispatch.idle_unload import IdleUnload
from imageserver.dispatch.job_records import JobRecords
from imageserver.dispatch.job_table import JobTable
from imageserver.dispatch.jobs import Job, Listener, Waiter
from imageserver.dispatch.model_loading import LoadEnded, ModelLoading
from imageserver.dispatch.queue_room import QueueRoom
from imageserver.dispatch.quotas.quotas import Quotas
from imageserver.dispatch.quotas.usage_store import UsageStore
from imageserver.dispatch.snapshot_broadcast import SnapshotBroadcast
from imageserver.errors import Cancelled, DeadlineExceeded, Draining, EngineUnavailable, OutOfMemory, ServiceError
from imageserver.generation import Generation
from imageserver.protocol import messages
from imageserver.scheduling_policy import CLASSES
from imageserver.settings import Settings

MAX_ENGINE_DEATHS = 2
# How long a job outlives a client that may come back: SDKs retry within eight seconds.
RETURN_SECONDS = 30.0


class Dispatcher:
    """Decides which requests are accepted, which job runs next, and whether a dead engine's jobs run again."""

    def __init__(self, settings: Settings, engine: EngineProcess) -> None:
        self._clock = asyncio.get_running_loop().time
        self._estimator = Estimator()
        self._broadcast = SnapshotBroadcast(self.snapshot)
        self._tasks: list[asyncio.Task[None]] = []
        self.engine = engine
        self.quotas = Quotas(UsageStore(settings.resolve(settings.state_dir)))
        self.jobs = JobTable(on_end=self.quotas.record_end)
        self.job_records = JobRecords()
        self.models = ModelLoading(engine, self.job_records)
        self._room = QueueRoom(settings, self.jobs, self.models)
        self._idle = IdleUnload(settings.idle_unload, engine, self._is_busy)

    def start(self) -> None:
        work = (self.engine.supervise(self), self._idle.watch(), self._broadcast.beat())
        self._tasks = [asyncio.create_task(each) for each in work]

    async def stop(self) -> None:
        """Fail all jobs, then end the engine."""
        for job in self.jobs:
            self.jobs.fail(job, Draining("The server is stopping."))
        await self.engine.stop()
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def join(self, worker: Listener) -> None:
        """Send `worker` the state now and at every change."""
        self._broadcast.join(worker)

    def leave(self, worker: Listener) -> None:
        """Cancel everything that `worker` waited for."""
        self._broadcast.leave(worker)
        for request in self.jobs.requests_of(worker):
            self.cancel(request)

    def submit(self, request: messages.Submit, worker: Listener, source: bytes = b"") -> None:
        """Queue a job, or let the request join an earlier one's; a refusal is sent like any other failure."""
        self.jobs.tally.total += 1
        same = self.jobs.single_flight.find(request)
        names = {self.models.with_model_name(each.generation).model for each in (request, same) if each is not None}
        if len(names) > 1:
            same = None
        if same is not None:
            # A retry gets the images of the seed that its first try was given.
            generation = dataclasses.replace(request.generation, seed=same.generation.seed)
            request = msgspec.structs.replace(request, generation=generation)
        listener = self.job_records.open(request, worker)
        waiter = Waiter(request.job, listener, worker, request.timeout, self._clock(), joined=same is not None)
        try:
            job = self._admit(request, source) if same is None else self._join(same, request)
        except ServiceError as error:
            self.jobs.detach(waiter, error)
            return
        if job.result is not None:
            self.jobs.repeat_result(job, waiter)
            return
        expected = self.estimate_wait(job)
        waiter.notify(messages.Queued(job=waiter.id, own=expected.own, wait=expected.wait, position=expected.position))
        self.jobs.attach(waiter, job, self._expire)
        if job.begun:
            waiter.notify(messages.Started(job=job.id))
        self.engine_changed()

    def record_cache_hit(self, hit: messages.CacheHit, worker: Listener) -> None:
        self.jobs.tally.total += 1
        self.jobs.tally.count("completed")
        self.job_records.record_cache_hit(hit, worker)
        self._broadcast.change(self.engine.state)

    def estimate(self, request: messages.EstimateRequest, listener: Listener) -> None:
        """Send the time and memory that a generation would take if it came now, and its token counts."""
        generation = self.models.with_model_name(request.generation)
        expected = self.estimate_wait(self._new_job(request.job, generation, request.credential))
        estimate = self._estimator.estimate(request.job, self.models.info_of(generation), generation, expected)
        if generation.model in self.models.loaded:
            question = messages.TokenCountRequest(job=request.job, generation=generation)
            self.engine.ask(question, PendingEstimate(estimate, listener))
        else:
            listener.send(estimate)

    def request_loras(self, request: messages.LoraRequest, worker: Listener) -> None:
        """Load, unload or list LoRAs of a model; only loading needs an engine where none runs."""
        if request.load is not None:
            self._idle.record_use()
        elif self.engine.state == "idle":
            worker.send(messages.LorasLoaded(job=request.job))
            return
        model = request.model or self.models.default
        self.engine.ask(msgspec.structs.replace(request, model=model), worker)

    def request_admission(self, request: messages.AdmissionRequest, worker: Listener) -> None:
        """Answer a request that would be refused now before its images are decoded; it counts like a job."""
        try:
            refuse_if_hopeless(self.engine)
            # How large its images will be is not known yet.
            self._room.refuse_if_none(request.credential, source_bytes=1)
        except ServiceError as error:
            self._refuse(request.job, error, worker)
        else:
            worker.send(messages.Admitted(job=request.job))

    def request_model(self, request: messages.ModelRequest, worker: Listener) -> None:
        """Load or unload a model for a client; a request that waits for its model counts like a job."""
        if request.prompt is not None:
            try:
                refuse_if_hopeless(self.engine)
                self._room.refuse_if_none(request.credential)
            except ServiceError as error:
                self._refuse(request.job, error, worker)
                return
        if not request.unload:
            self._idle.record_use()
        self.models.submit(request, worker)
        self._broadcast.send()
        self.models.send_responses()

    def cancel(self, request: int) -> None:
        """End one client's wait; a job that nobody waits for any more is stopped wherever it is."""
        self.models.cancel(request)
        self._dismiss(request, Cancelled("The generation was cancelled."))

    def client_left(self, request: int) -> None:
        """Keep a job for a while after its client left, because the client may retry."""
        self.jobs.single_flight.client_left(request)
        if self.jobs.job_of(request) is not None:
            asyncio.get_running_loop().call_later(RETURN_SECONDS, self.cancel, request)

    def estimate_wait(self, job: Job) -> WaitEstimate:
        """Return when a job would be done, as things stand."""
        return estimate_wait(job, self.jobs.running.values(), self.jobs.queue, self._clock(), room=self._has_room(job))

    def snapshot(self) -> messages.Snapshot:
        """Return the state of the service: the engine's, or that of a model that is loading beside it, and counts."""
        engine, tally = self.engine, self.jobs.tally
        state = {"ready": "healthy", "loading": "loading"}.get(engine.state, "degraded")
        if engine.is_resting:
            state = "healthy"  # requests are accepted, and start it
        beside = engine.load_progress or self.models.download
        return messages.Snapshot(
            state=state,
            reason=beside.sentence if beside else engine.reason,
            phase=beside.phase if beside else engine.phase,
            load_fraction=beside.fraction if beside else engine.fraction,
            info=self.models.info if engine.ready or engine.is_resting else None,
            default=self.models.default,
            models=tuple(self.models.known.values()),
            loaded=self.models.loaded,
            queue_length=len(self.jobs.queue) + self.models.requests_waiting,
            active=len(self.jobs.running),
            total=tally.total,
            completed=tally.completed,
            failed=tally.failed,
            cancelled=tally.cancelled,
            engine_restarts=engine.restarts,
            idle_unloads=self._idle.count,
            queue_wait=self.jobs.remaining,
            estimate_error=self._estimator.costs.median_error,
            usage=engine.usage,
            dispatcher_pid=os.getpid(),
            engine_pid=engine.pid,
        )

    def engine_changed(self) -> None:
        """Use an engine that has become ready, and send a snapshot: at once when the state is another, else soon."""
        self._pump()
        if self.engine.state == "failed":
            for job in self.jobs:
                self.jobs.fail(job, EngineUnavailable(self.engine.reason))
        self._broadcast.change(self.engine.state)
        if self.engine.is_ready:
            # Requests for models that have waited for this engine.
            self.models.advance()
            self.models.send_responses()

    def job_event(self, message: messages.JobReport, raw: bytes) -> None:
        """Pass an engine's message on; one about a job that nobody waits for any more only frees its place."""
        job = self.jobs.find(message.job)
        if not isinstance(message, messages.Finished | messages.Failed):
            if job is not None:
                self.jobs.notify(job, message, raw)
            return
        self.jobs.running.pop(message.job, None)
        if job is not None:
            self._learn(job, message)
            self.jobs.end(job, message, raw)
        self.engine_changed()

    def model_event(self, message: messages.ModelsLoaded | messages.ModelFetched | messages.LoadProgress) -> None:
        """Pass on the progress of a model, and use it once it is downloaded or loaded."""
        match message:
            case messages.LoadProgress():
                self.models.notify_progress(message)
            case messages.ModelFetched():
                self.models.receive_fetched(message)
                self.models.send_responses()
            case messages.ModelsLoaded():
                ended = self.models.receive_loaded(message)
                # At once: neither an image nor a response may arrive before the info of its model.
                self._broadcast.send()
                self._after_load(ended)
        self.engine_changed()

    def engine_lost(self, *, silent: bool) -> None:
        """Run a dead engine's jobs again; fail those that have killed two, or during which it stopped responding."""
        self._after_load(self.models.engine_lost(), spared=self.models.default)  # a new engine begins with that one
        lost, self.jobs.running = list(self.jobs.running.values()), {}
        for job in lost:
            if job.state != "processing":  # it had ended already
                continue
            job.engine_deaths += 1
            if silent and (len(lost) == 1 or job.engine_deaths >= MAX_ENGINE_DEATHS):
                self.jobs.fail(job, DeadlineExceeded("The engine stopped answering while it ran this generation."))
            elif job.engine_deaths >= MAX_ENGINE_DEATHS or self.engine.state == "failed":
                error = EngineUnavailable("The engine died while it ran this generation.", retry_after=5)
                self.jobs.fail(job, error)
            else:
                self.jobs.requeue(job)
        self.engine_changed()

    def _is_busy(self) -> bool:
        return bool(len(self.jobs) or self.jobs.running) or self.models.is_busy or self.engine.is_asked

    def _join(self, job: Job, request: messages.Submit) -> Job:
        """Return a job that generates the request's images, at the better priority of the two; raises WouldTimeOut."""
        if job.result is None:
            self._refuse_if_too_late(job, request.client_timeout)
        priority = request.generation.priority
        if CLASSES[priority] < CLASSES[job.generation.priority] and job.state == "queued":
            job.generation = dataclasses.replace(job.generation, priority=priority)
        return job

    def _admit(self, request: messages.Submit, source: bytes) -> Job:
        """Return a new job in the queue; raises the error that refuses it."""
        generation = self.models.with_model_name(request.generation)
        job = self._new_job(request.job, generation, request.credential)
        job.source, job.twin_key = source, request.twin_key
        refuse_if_hopeless(self.engine)
        self._room.refuse_if_none(request.credential, len(source))
        self._estimator.refuse_if_too_large(self.models.info_of(generation), generation, self.models.loaded)
        self._refuse_if_too_late(job, request.client_timeout)
        # Last: what is refused costs nothing.
        self.quotas.charge(request, job, learnt=self._estimator.costs.learnt)
        self.jobs.add(job)
        self._idle.record_use()
        return job

    def _new_job(self, number: int, generation: Generation, credential: str) -> Job:
        work = self._estimator.costs.seconds(generation)
        return Job(number, generation, [], arrived=self._clock(), credential=credential, work=work)

    def _learn(self, job: Job, message: messages.Finished | messages.Failed) -> None:
        """Learn from a job that has ended, also for those that were estimated before it."""
        info = self.models.info_of(job.generation)
        if isinstance(message, messages.Finished):
            self._estimator.observe(info, job.generation, message.outcome)
            for other in self.jobs:
                other.work = self._estimator.costs.seconds(other.generation)
        elif message.code == OutOfMemory.code and not self.jobs.running:
            self._estimator.observe_failure(info, job.generation, self.models.loaded)

    def _refuse(self, number: int, error: ServiceError, worker: Listener) -> None:
        self.jobs.tally.total += 1
        self.jobs.tally.count("failed")
        worker.send(messages.failed(number, error))

    def _refuse_if_too_late(self, job: Job, client_timeout: float | None) -> None:
        if client_timeout is not None and self._estimator.costs.learnt:
            refuse_if_too_late(self.estimate_wait(job), client_timeout)

    def _pump(self) -> None:
        """Give waiting jobs to the engine while it has room."""
        while self.engine.is_ready and (
            job := self.jobs.queue.peek(self._clock(), lambda waiting: self.models.holds_back(waiting.generation))
        ):
            job.generation = self.models.with_model_name(job.generation)
            if not (self._may_join(job) and self.models.may_run(job.generation.model) and self._has_room(job)):
                return
            self.jobs.start(job)
            waited = self._clock() - job.arrived
            run = messages.Run(job=job.id, generation=job.generation, credential=job.credential, waited=waited)
            self.engine.run(run, job.source)

    def _has_room(self, job: Job) -> bool:
        return self.engine.has_room(self.models.info_of(job.generation))

    def _may_join(self, job: Job) -> bool:
        """Let a job that has lost an engine run alone: one that kills engines must not kill its neighbours."""
        running = self.jobs.running.values()
        return not running or not (job.engine_deaths or any(other.engine_deaths for other in running))

    def _after_load(self, ended: LoadEnded | None, spared: str = "") -> None:
        """Answer the requests for a model, and fail the jobs of one that cannot be loaded."""
        self.models.send_responses()
        if ended is not None and ended.failure is not None and ended.name != spared:
            for job in [job for job in self.jobs.queue if job.generation.model == ended.name]:
                self.jobs.fail(job, ended.failure)

    def _expire(self, waiter: Waiter) -> None:
        job = self.jobs.job_of(waiter.id)
        where = "was running"
        if job is not None and job.state == "queued":
            where = "was waiting in the queue"
            if self.engine.state != "ready":
                where = f"waited for the model ({self.engine.reason})"
        self._dismiss(waiter.id, DeadlineExceeded(f"The time limit of {waiter.timeout:g} s passed while it {where}."))

    def _dismiss(self, request: int, error: ServiceError) -> None:
        """Answer one client; the device is freed at the next step when it was the job's last."""
        job = self.jobs.job_of(request)
        if job is None:
            return
        if len(job.waiters) > 1:
            self.jobs.detach(next(waiter for waiter in job.waiters if waiter.id == request), error)
            return
        if job.id in self.jobs.running:
            self.engine.cancel(job.id)
        self.jobs.fail(job, error)
        self.engine_changed()
