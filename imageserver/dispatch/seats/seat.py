"""A seat: one engine, and what the dispatcher knows of it."""

import asyncio
import math
from typing import Protocol

from imageserver.dispatch.estimates.cost_model import CostModel
from imageserver.dispatch.estimates.memory_model import MemoryModel
from imageserver.dispatch.jobs import Job, Listener
from imageserver.dispatch.seats.engines.engine_process import DOWNLOADING, EngineProcess
from imageserver.dispatch.seats.load_pace import LoadPace
from imageserver.dispatch.seats.seat_models import SeatModels
from imageserver.errors import EngineUnavailable, Loading, ServiceError
from imageserver.generation import Generation, Lora, ModelInfo
from imageserver.protocol import messages
from imageserver.protocol.messages import REFUSED

# What a far seat does for a machine: it waits for one that is offered, or asks the cluster for one.
OFFERED, REQUESTED = "offered", "requested"
# How long a request waits for an engine that may come, where the others have failed.
PATIENCE_SECONDS = 30.0
# A machine that may be tried again is found in this time, if it is still there.
FIND_SECONDS = 10.0
# When a request that a loading engine cannot serve may come again, until the pace of the load is known.
DOWNLOAD_RETRY_SECONDS, LOAD_RETRY_SECONDS = 30.0, 2.0

ModelEvent = messages.ModelsLoaded | messages.ModelFetched | messages.LoadProgress


class SeatEvents(Protocol):
    """The dispatcher's side: what the engines of all seats report."""

    def engine_changed(self) -> None:
        """The state of an engine, its reason or the progress of its load has changed."""

    def job_event(self, seat: "Seat", message: messages.JobReport, raw: bytes) -> None:
        """A running job has started, progressed or ended."""

    def model_event(self, seat: "Seat", message: ModelEvent) -> None:
        """The models in memory or on the disk have changed, or a load or a download has progressed or failed."""

    def engine_lost(self, seat: "Seat", *, silent: bool) -> None:
        """The engine is gone, and the running jobs with it; `silent` when the watchdog killed it."""


class Seat:
    """A place for one engine: its jobs, its models, and what generations cost on its device."""

    def __init__(self, name: str, engine: EngineProcess, wanted: str = "") -> None:
        """`wanted` is OFFERED or REQUESTED for an engine on another machine."""
        self._name = name
        self.wanted = wanted
        # From then on no request counts on it.
        self.is_closing = False
        # The moment from which the machine of a far engine that has failed may be tried again; infinite where it will
        # not be, None until that is decided.
        self.retried_at: float | None = None
        self._load_pace = LoadPace()
        self.engine = engine
        self.models = SeatModels(engine)
        self.costs = CostModel()
        self.memory = MemoryModel()
        self._learnt_on = ""
        # The LoRAs that jobs of this engine have used.
        self.attached: set[Lora] = set()
        # What the engine works on; a cancelled job stays until the engine reports its end.
        self.running: dict[int, Job] = {}

    @property
    def name(self) -> str:
        """What tells it from the other seats: its device, on another machine with that machine's address."""
        return self.engine.machine or self._name

    @property
    def host(self) -> str:
        """The address of the machine whose disk its engine reads; empty for this one."""
        return self.engine.machine.partition(" ")[0]

    @property
    def is_far(self) -> bool:
        """Whether its engine is on another machine."""
        return bool(self.wanted)

    @property
    def is_waiting_for_machine(self) -> bool:
        """Whether no machine has been found for its engine yet, which may never be: none counts on it."""
        return self.is_far and not self.engine.machine and self.engine.state in ("loading", "restarting")

    @property
    def is_coming(self) -> bool:
        """Whether there is an engine, or will be one."""
        return self.engine.state != "failed" and not self.is_waiting_for_machine

    @property
    def is_searching(self) -> bool:
        """Whether it looks for its first machine; a woken one had one before."""
        return self.is_waiting_for_machine and not self.engine.is_resting

    @property
    def is_spare(self) -> bool:
        """Whether it only waits for a machine that nobody was asked for."""
        return self.is_searching and self.wanted == OFFERED

    @property
    def is_refused(self) -> bool:
        """Whether the machine that was started for its engine cannot be used, so that none is on its way."""
        return self.is_waiting_for_machine and self.engine.phase == REFUSED

    @property
    def may_find_machine(self) -> bool:
        """Whether it looks for a machine that was asked for, or again for one, and none was refused there."""
        is_looking = self.is_searching and not self.is_refused
        return is_looking and (self.wanted == REQUESTED or bool(self.models.known))

    @property
    def has_failed(self) -> bool:
        """Whether no engine will come here, as things stand."""
        return self.engine.state == "failed" or self.is_refused

    @property
    def is_retried(self) -> bool:
        """Whether the machine of an engine that has failed is tried again soon, or has just been looked for again."""
        if not (self.is_searching or (self.is_far and self.engine.state == "failed")):
            return False
        if self.retried_at is None:
            return self.engine.state == "failed"
        return -FIND_SECONDS <= self.retried_at - asyncio.get_running_loop().time() <= PATIENCE_SECONDS

    @property
    def retry_after(self) -> float | None:
        """The seconds after which a request that needs this engine may come again; None where it may never come."""
        if self.engine.state == "failed":
            seconds = math.inf if self.retried_at is None else self.retried_at - asyncio.get_running_loop().time()
            return max(1.0, seconds) if math.isfinite(seconds) else None
        if self.is_waiting_for_machine:
            return PATIENCE_SECONDS if self.may_find_machine or self.is_retried else None
        if self.engine.state != "loading":
            return LOAD_RETRY_SECONDS
        least = DOWNLOAD_RETRY_SECONDS if self.engine.phase == DOWNLOADING else LOAD_RETRY_SECONDS
        left = self._load_pace.seconds_left
        return least if left is None else max(LOAD_RETRY_SECONDS, left)

    @property
    def is_busy(self) -> bool:
        """Whether the engine has jobs, questions, loads or unloads."""
        return bool(self.running) or self.engine.is_asked or self.models.is_busy

    @property
    def remaining(self) -> float:
        """The expected device seconds of the jobs that run here."""
        return sum(job.remaining for job in self.running.values())

    def has_room(self, generation: Generation) -> bool:
        """Return whether the engine may be given one more such generation; never before it has had its model."""
        return self.engine.has_room(self.info_of(generation))

    @property
    def is_full(self) -> bool:
        """Whether no job of any of its models can be sent to it now."""
        infos = [self.models.known[name] for name in self.models.loaded]
        return self.models.loading is not None or bool(infos and not any(map(self.engine.has_room, infos)))

    def run(self, job: Job, waited: float) -> None:
        """Give a job to the engine, after it has waited for so many seconds."""
        self.running[job.id], job.device = job, self.name
        self.attached.update(job.generation.loras)
        run = messages.Run(
            job=job.id, generation=job.generation, credential=job.credential, waited=waited, trace_id=job.trace_id
        )
        self.engine.run(run, job.source)

    def ask(self, question: messages.LoraRequest | messages.TokenCountRequest, listener: Listener) -> None:
        """Pass a question on to the engine; where that is not ready, answer why."""
        if self.engine.is_ready:
            self.engine.ask(question, listener)
            return
        error: ServiceError = EngineUnavailable(self.engine.reason, retry_after=self.retry_after)
        if self.engine.state != "failed":
            error = Loading(f"The model is not loaded yet: {self.engine.reason}", retry_after=self.retry_after)
        listener.send(messages.failed(question.job, error))

    def follow_engine(self) -> None:
        """Record the progress of a load; forget what generations cost on another machine than that of the engine."""
        if self.engine.state == "loading":
            self._load_pace.observe(self.engine.phase, self.engine.fraction)
        machine = self.engine.machine
        if machine and self.engine.state != "failed":
            self.retried_at = None
        if machine and machine != self._learnt_on:
            self.costs, self.memory, self._learnt_on = CostModel(), MemoryModel(), machine

    def lose_engine(self) -> list[Job]:
        """Forget what a dead engine held; return the jobs that it was running."""
        lost = list(self.running.values())
        self.running.clear()
        self.attached.clear()
        return lost

    def info_of(self, generation: Generation) -> ModelInfo | None:
        return self.models.known.get(generation.model)

    async def supervise(self, events: SeatEvents) -> None:
        """Run engines for this seat, one after the other, until it is stopped."""
        await self.engine.supervise(SeatReports(self, events))


class SeatReports:
    """Passes on what an engine process reports, with its seat."""

    def __init__(self, seat: Seat, events: SeatEvents) -> None:
        self._seat = seat
        self._events = events

    def engine_changed(self) -> None:
        self._seat.follow_engine()
        self._events.engine_changed()

    def job_event(self, message: messages.JobReport, raw: bytes) -> None:
        self._events.job_event(self._seat, message, raw)

    def model_event(self, message: ModelEvent) -> None:
        self._events.model_event(self._seat, message)

    def engine_lost(self, *, silent: bool) -> None:
        self._events.engine_lost(self._seat, silent=silent)
