"""The one object that all HTTP workers share: it queues jobs, gives them to engines and notifies their clients."""

import asyncio
import dataclasses
import logging
import math
from collections.abc import Coroutine

import msgspec

from imageserver.dispatch.admission import refuse_if_hopeless, refuse_if_too_late
from imageserver.dispatch.assignment import Assignment
from imageserver.dispatch.estimates.pending_estimates import PendingEstimate
from imageserver.dispatch.estimates.queue_wait import WaitEstimate, estimate_wait
from imageserver.dispatch.history.counts import Counts
from imageserver.dispatch.history.minutes import Minutes
from imageserver.dispatch.job_records import JobRecords
from imageserver.dispatch.job_table import JobTable
from imageserver.dispatch.jobs import Job, Listener, Waiter
from imageserver.dispatch.measuring.job_times import JobTimes
from imageserver.dispatch.models.model_loading import ModelLoading
from imageserver.dispatch.patience import Patience
from imageserver.dispatch.queue_room import QueueRoom
from imageserver.dispatch.quotas.quotas import Quotas
from imageserver.dispatch.quotas.usage_store import UsageStore
from imageserver.dispatch.seats import lora_requests
from imageserver.dispatch.seats.estimator import Estimator
from imageserver.dispatch.seats.idle_unload import IdleUnload
from imageserver.dispatch.seats.seat import ModelEvent, Seat
from imageserver.dispatch.seats.seat_list import SeatList
from imageserver.dispatch.seats.seat_models import LoadEnded
from imageserver.dispatch.service_state import snapshot
from imageserver.dispatch.snapshot_broadcast import SnapshotBroadcast
from imageserver.dispatch.tasks import Tasks
from imageserver.errors import Cancelled, DeadlineExceeded, Draining, EngineUnavailable, Loading, ServiceError
from imageserver.generation import Generation
from imageserver.protocol import messages
from imageserver.scheduling_policy import CLASSES
from imageserver.settings import Settings
from imageserver.telemetry.instruments import MODEL_LOAD_SECONDS
from imageserver.telemetry.metric_registry import MetricRegistry

logger = logging.getLogger(__name__)

# How long a job outlives a client that may come back: SDKs retry within eight seconds.
RETURN_SECONDS = 30.0


class Dispatcher:
    """Decides which requests are accepted, and answers them; `Assignment` decides which job runs next and where."""

    def __init__(self, settings: Settings) -> None:
        self._clock = asyncio.get_running_loop().time
        self._broadcast = SnapshotBroadcast(self.snapshot)
        self._tasks = Tasks()
        # Without SCALE_UP_WAIT nobody knows whether the machines that MIN_ENGINES asks for can be started at all.
        self.seats = SeatList(awaits_machines=bool(settings.cluster) and settings.scale_up_wait > 0)
        self._patience = Patience(self.seats)
        self._estimator = Estimator(self.seats)
        self.quotas = Quotas(UsageStore(settings.resolve(settings.state_dir)))
        self.measurements = MetricRegistry()
        self._job_times = JobTimes(self.measurements, self._clock, lambda: self.models.default)
        self.jobs = JobTable(on_end=self._record_end)
        self.job_records = JobRecords()
        self.models = ModelLoading(self.seats, self.job_records)
        self._room = QueueRoom(settings, self.jobs, self.models, self.seats)
        self.history = Minutes(self._counts)
        self._idle = IdleUnload(settings.idle_unload, self.seats, self._something_waits)
        self._assignment = Assignment(self.jobs, self.seats, self.models, self._estimator, self._idle)

    def start(self) -> None:
        """Watch the seats, and let the workers see that this loop runs."""
        self.watch(self._idle.watch())
        self.watch(self._broadcast.beat())
        self.watch(self.history.watch())

    def open_seat(self, seat: Seat) -> None:
        """Run engines on a seat from now on."""
        self.seats.add(seat)
        self.watch(seat.supervise(self))

    async def close_seat(self, seat: Seat) -> None:
        """End a seat for good; what its engine was running runs elsewhere."""
        await seat.engine.stop()
        self.seats.remove(seat)
        self._idle.forget(seat)
        self.engine_lost(seat, silent=False)

    def watch(self, work: Coroutine[None, None, None]) -> None:
        """Let something run as long as the dispatcher does."""
        self._tasks.start(work)

    async def stop(self) -> None:
        """Fail all jobs, then end the engines."""
        for job in self.jobs:
            self.jobs.fail(job, Draining("The server is stopping."))
        stopped = await asyncio.gather(*(seat.engine.stop() for seat in self.seats), return_exceptions=True)
        for error in filter(None, stopped):
            logger.error("An engine could not be ended.", exc_info=error)
        await self._tasks.stop()

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
            self.jobs.tally.refused += 1
            self.jobs.detach(waiter, error)
            return
        if job.result is not None:
            self.jobs.repeat_result(job, waiter)
            return
        waiter.notify(self._queued(job))
        self.jobs.attach(waiter, job, self._expire)
        if job.begun:
            waiter.notify(messages.Started(job=job.id, device=job.device))
        self.engine_changed()

    def record_cache_hit(self, hit: messages.CacheHit, worker: Listener) -> None:
        self.jobs.tally.total += 1
        self.jobs.tally.count("completed")
        self.job_records.record_cache_hit(hit, worker)
        self._broadcast.change(self.seats.states)

    def estimate(self, request: messages.EstimateRequest, listener: Listener) -> None:
        """Send the time and memory that a generation would take if it came now, and its token counts."""
        generation = self.models.with_model_name(request.generation)
        expected = self.estimate_wait(self._new_job(request.job, generation, request.credential))
        estimate = self._estimator.estimate(request.job, generation, expected)
        holding = self.seats.holding(generation.model)
        if holding:
            question = messages.TokenCountRequest(job=request.job, generation=generation)
            holding[0].ask(question, PendingEstimate(estimate, listener))
        else:
            listener.send(estimate)

    def request_loras(self, request: messages.LoraRequest, worker: Listener) -> None:
        """Load, fetch, unload or list LoRAs of a model; the first two need an engine where none runs."""
        if request.load is not None or request.fetch is not None:
            self._idle.record_request()
        elif not self.seats.ready and any(seat.engine.is_resting for seat in self.seats):
            worker.send(messages.LorasLoaded(job=request.job))
            return
        request = msgspec.structs.replace(request, model=request.model or self.models.default)
        seats = lora_requests.seats_asked(request, self.seats)
        if not seats:
            error = Loading(f"The model is not loaded yet: {self.seats.reason}", retry_after=self.seats.retry_after)
            worker.send(messages.failed(request.job, error))
        lora_requests.ask(request, seats, worker)

    def request_admission(self, request: messages.AdmissionRequest, worker: Listener) -> None:
        """Refuse, like a job, what would be refused now: before its images or its prompt are worked on."""
        try:
            refuse_if_hopeless(self.seats)
            # How large its images will be is not known yet.
            self._room.refuse_if_none(request.credential, source_bytes=1)
            self.quotas.refuse_if_used_up(request.account, request.limits)
        except ServiceError as error:
            self._refuse(request.job, error, worker)
        else:
            worker.send(messages.Admitted(job=request.job))

    def request_model(self, request: messages.ModelRequest, worker: Listener) -> None:
        """Load or unload a model for a client; a request that waits for its model counts like a job."""
        if request.prompt is not None:
            try:
                refuse_if_hopeless(self.seats)
                self._room.refuse_if_none(request.credential)
            except ServiceError as error:
                self._refuse(request.job, error, worker)
                return
        if not request.unload:
            self._idle.record_request()
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
        generation = job.generation
        expected = estimate_wait(job, self._estimator.loads(generation), self.jobs.queue.claims, self._clock())
        return dataclasses.replace(expected, wait=expected.wait + self._estimator.load_seconds(generation))

    @property
    def expected_wait(self) -> float:
        """The seconds that a job which comes now would wait; infinite while others wait and no engine is coming."""
        if (len(self.jobs.queue) or self.models.is_requested) and not self.seats.are_coming:
            return math.inf
        return self.snapshot().expected_wait

    def snapshot(self) -> messages.Snapshot:
        """Return the state of the service."""
        return snapshot(self.seats, self.jobs, self.models, self._estimator, self._idle)

    def engine_changed(self) -> None:
        """Use an engine that has become ready, and send a snapshot: at once when the state is another, else soon."""
        self._assignment.advance()
        if self._patience.is_tried:
            self._refuse_waiting()
        self._broadcast.change(self.seats.states)
        # Requests for models that have waited for an engine.
        self.models.advance()
        self.models.send_responses()

    def job_event(self, seat: Seat, message: messages.JobReport, raw: bytes) -> None:
        """Pass an engine's message on; one about a job that nobody waits for any more only frees its place."""
        job = self.jobs.find(message.job)
        if isinstance(message, messages.Finished | messages.Failed):
            self._assignment.end(seat, message)
            if job is not None:
                self.jobs.end(job, message, raw)
            self.engine_changed()
        elif job is not None:
            if isinstance(message, messages.Started):
                message = messages.Started(job=job.id, device=seat.name)
            elif isinstance(message, messages.Progress):
                self._job_times.record_progress(job, message)
            self.jobs.notify(job, message, raw)

    def model_event(self, seat: Seat, message: ModelEvent) -> None:
        """Pass on the progress of a model, and use it once it is downloaded or loaded."""
        match message:
            case messages.LoadProgress():
                self.models.notify_progress(seat, message)
            case messages.ModelFetched():
                self.models.receive_fetched(message)
                self.models.send_responses()
            case messages.ModelsLoaded():
                self._observe_load(seat, message)
                ended = self.models.receive_loaded(seat, message)
                # At once: neither an image nor a response may arrive before the info of its model.
                self._broadcast.send()
                self._after_load(ended)
        self.engine_changed()

    def engine_lost(self, seat: Seat, *, silent: bool) -> None:
        """Run a dead engine's jobs again, elsewhere or on the next one."""
        self._after_load(self.models.engine_lost(seat), spared=self.models.default)  # a new engine begins with that one
        for job in self._assignment.requeue_lost(seat, silent=silent):
            self.jobs.notify(job, self._queued(job))
        self.engine_changed()

    def _refuse_waiting(self) -> None:
        """Refuse what waits in vain, and look again later at the rest."""
        error = EngineUnavailable(self.seats.reason, retry_after=self.seats.retry_after)
        # Once for all of them: up to a thousand wait, and each that comes asks again.
        refused_until = self._patience.refused_until
        for job in [job for job in self.jobs if job.arrived <= refused_until]:
            self.jobs.fail(job, error)
        self.models.fail_waiting(error, refused_until)
        if len(self.jobs.queue) or self.models.is_requested:
            self._patience.check_later(self.engine_changed)

    def _record_end(self, job: Job, message: messages.Finished | messages.Failed) -> None:
        self.quotas.record_end(job, message)
        self._job_times.record_end(job, message)

    def _observe_load(self, seat: Seat, message: messages.ModelsLoaded) -> None:
        loading = seat.models.loading
        loaded = loading.name if loading is not None and loading.number == message.job else ""
        for info in message.models:
            if info.name == loaded or message.job == 0:  # the engine's first
                self.measurements.observe(MODEL_LOAD_SECONDS, info.load_time, info.name)

    def _counts(self) -> Counts:
        busy = {seat.name: seat.engine.usage.total.busy for seat in self.seats}
        queued = len(self.jobs.queue) + self.jobs.held_by_engines + self.models.requests_waiting
        return Counts(queued, self.jobs.begun, self.jobs.tally.refused, busy)

    def _queued(self, job: Job) -> messages.Queued:
        expected = self.estimate_wait(job)
        return messages.Queued(job=job.id, own=expected.own, wait=expected.wait, position=expected.position)

    def _something_waits(self) -> bool:
        return bool(len(self.jobs.queue)) or self.models.is_busy

    def _join(self, job: Job, request: messages.Submit) -> Job:
        """Return a job that generates the request's images, at the better priority of the two; raises WouldTimeOut."""
        if job.result is None:
            self._refuse_if_too_late(job, request.client_timeout)
        priority = request.generation.priority
        if CLASSES[priority] < CLASSES[job.generation.priority] and job.state == "queued":
            job.generation = dataclasses.replace(job.generation, priority=priority)
            self.jobs.queue.move(job)
        return job

    def _admit(self, request: messages.Submit, source: bytes) -> Job:
        """Return a new job in the queue; raises the error that refuses it."""
        generation = self.models.with_model_name(request.generation)
        job = self._new_job(request.job, generation, request.credential)
        job.source, job.twin_key, job.trace_id = source, request.twin_key, request.trace_id
        refuse_if_hopeless(self.seats)
        self._room.refuse_if_none(request.credential, len(source))
        self._estimator.refuse_if_too_large(generation)
        self._refuse_if_too_late(job, request.client_timeout)
        # Last: what is refused costs nothing.
        self.quotas.charge(request, job, learnt=self._estimator.costs.learnt)
        self.jobs.add(job)
        return job

    def _new_job(self, number: int, generation: Generation, credential: str) -> Job:
        work = self._estimator.costs.seconds(generation)
        return Job(number, generation, [], arrived=self._clock(), credential=credential, work=work)

    def _refuse(self, number: int, error: ServiceError, worker: Listener) -> None:
        self.jobs.tally.total += 1
        self.jobs.tally.refused += 1
        self.jobs.tally.count("failed")
        worker.send(messages.failed(number, error))

    def _refuse_if_too_late(self, job: Job, client_timeout: float | None) -> None:
        if client_timeout is not None and self._estimator.costs.learnt:
            refuse_if_too_late(self.estimate_wait(job), client_timeout)

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
            if not self.seats.ready:
                where = f"waited for the model ({self.seats.reason})"
        self._dismiss(waiter.id, DeadlineExceeded(f"The time limit of {waiter.timeout:g} s passed while it {where}."))

    def _dismiss(self, request: int, error: ServiceError) -> None:
        """Answer one client; the device is freed at the next step when it was the job's last."""
        job = self.jobs.job_of(request)
        if job is None:
            return
        if len(job.waiters) > 1:
            self.jobs.detach(next(waiter for waiter in job.waiters if waiter.id == request), error)
            return
        if (seat := self.seats.of(job.id)) is not None:
            seat.engine.cancel(job.id)
        self.jobs.fail(job, error)
        self.engine_changed()
