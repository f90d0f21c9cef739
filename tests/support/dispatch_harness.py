"""A dispatcher inside a loop of virtual time, with an engine that a test scripts and clients that record.

`tests/unit/dispatch/conftest.py` runs every `async def test_…` in a `VirtualTimeLoop`; its fixture `harness` is the
plain `Harness`, and one with other settings is created inside such a test.
"""

import asyncio
import dataclasses
import selectors
from typing import Any

from imageserver.dispatch.dispatcher import Dispatcher
from imageserver.dispatch.jobs import Listener
from imageserver.dispatch.seats.engines.initial_models import InitialModels
from imageserver.dispatch.seats.engines.usage_total import UsageTotal
from imageserver.dispatch.seats.seat import Seat
from imageserver.errors import Loading
from imageserver.generation import ModelInfo, Outcome
from imageserver.protocol.messages import (
    Failed,
    FetchModel,
    Finished,
    LoadModel,
    LoadProgress,
    LoraRequest,
    Message,
    ModelFetched,
    ModelRequest,
    ModelResponse,
    ModelsLoaded,
    Progress,
    Queued,
    Ready,
    Run,
    Snapshot,
    Started,
    Submit,
    TokenCountRequest,
    UnloadModel,
    failed,
)
from imageserver.settings import Settings
from tests.support.factories import generation

INFO = ModelInfo(name="scripted")


class InstantSelector(selectors.DefaultSelector):
    """Instead of waiting for the next timer it moves the clock there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("The test waits for something that never comes.")
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop in which `await asyncio.sleep(30)` takes no time, and every timer runs at its exact moment."""

    def __init__(self) -> None:
        self._instant = InstantSelector()
        super().__init__(self._instant)

    def time(self) -> float:
        return self._instant.now


class ScriptedEngine:
    """What the dispatcher sees of an engine."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.state, self.phase, self.reason = "ready", "ready", "Scripted."
        self.fraction: float | None = 1.0
        self.ready: Ready | None = Ready(info=INFO)
        self.restarts = 0
        self.machine = ""
        self.has_stopped = False
        self.is_resting = self.is_asked = False
        self.woken = 0
        self.usage = UsageTotal()
        self.pid: int | None = 1
        self.running: list[int] = []
        self.runs: list[int] = []
        self.messages: list[Run] = []
        self.sources: list[bytes] = []
        self.cancels: list[int] = []
        self.initial_models = InitialModels(None)
        self.load_progress: LoadProgress | None = None
        self.sent: list[FetchModel | LoadModel | UnloadModel] = []
        self.models: list[str] = []
        self.counts_tokens = False
        self.asked: dict[int, Listener] = {}

    @property
    def is_ready(self) -> bool:
        return self.state == "ready"

    def has_room(self, info: ModelInfo | None) -> bool:
        return info is not None and self.is_ready and len(self.running) < self.room

    def run(self, message: Run, source: bytes = b"") -> None:
        self.sources.append(source)
        self.running.append(message.job)
        self.runs.append(message.job)
        self.messages.append(message)
        self.models.append(message.generation.model)

    def ask(self, question: LoraRequest | TokenCountRequest, listener: Listener) -> None:
        if self.counts_tokens:
            self.asked[question.job] = listener
        else:
            listener.send(failed(question.job, Loading("It counts no tokens.")))

    def cancel(self, job: int) -> None:
        self.cancels.append(job)

    def wake(self) -> None:
        self.woken += 1

    async def stop(self) -> None:
        self.has_stopped = True

    def send(self, message: FetchModel | LoadModel | UnloadModel) -> None:
        self.sent.append(message)


class Recorder:
    """A listener that keeps what it receives."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.raw: list[bytes] = []

    def send(self, message: Message, raw: bytes = b"") -> None:
        self.messages.append(message)
        self.raw.append(raw)

    def of(self, job: int) -> list[str]:
        """Return what came about a job since it was accepted, by name or failure code."""
        mine = [m for m in self.messages if getattr(m, "job", None) == job and not isinstance(m, Queued)]
        return [message.code if isinstance(message, Failed) else type(message).__name__ for message in mine]

    @property
    def responses(self) -> list[ModelResponse | Failed]:
        """What became of models that were asked for, and of jobs that failed."""
        return [message for message in self.messages if isinstance(message, ModelResponse | Failed)]

    @property
    def snapshots(self) -> list[Snapshot]:
        return [message for message in self.messages if isinstance(message, Snapshot)]


class Harness:
    """A dispatcher, its engines and one worker; `engine` and `seat` are the first ones."""

    def __init__(self, *, room: int = 1, loaded: bool = True, seats: int = 1, **settings: Any) -> None:
        self.dispatcher = Dispatcher(Settings(_env_file=None, **settings))
        self.engines = [ScriptedEngine(room) for _ in range(seats)]
        self.seats = [Seat(f"card{number}", engine) for number, engine in enumerate(self.engines)]  # type: ignore[arg-type]
        self.engine, self.seat = self.engines[0], self.seats[0]
        for seat in self.seats:
            self.dispatcher.seats.add(seat)
            if loaded:
                self.load("scripted", seat=seat)
        self.worker = Recorder()
        self.dispatcher.join(self.worker)

    def load(self, *names: str, job: int = 0, failure: Failed | None = None, seat: Seat | None = None) -> None:
        """Let an engine report which models are loaded now."""
        models = tuple(dataclasses.replace(INFO, name=name) for name in names)
        self.dispatcher.model_event(seat or self.seat, ModelsLoaded(job=job, models=models, failure=failure))

    def fetch(self, job: int, failure: Failed | None = None) -> None:
        """Let the engine report that a model's files are on the disk, or why not."""
        self.dispatcher.model_event(self.seat, ModelFetched(job=job, failure=failure))

    def submit(
        self,
        *jobs: int,
        timeout: float = 60.0,
        worker: Recorder | None = None,
        model: str = "",
        source: bytes = b"",
        **fields: Any,
    ) -> None:
        for job in jobs:
            request = Submit(job=job, generation=generation(model=model), timeout=timeout, **fields)
            self.dispatcher.submit(request, worker or self.worker, source)

    def request_model(self, job: int, worker: Recorder | None = None, **wanted: Any) -> None:
        self.dispatcher.request_model(ModelRequest(job=job, **wanted), worker or self.worker)

    def seat_of(self, job: int) -> Seat:
        """Return the seat whose engine runs a job."""
        return next(seat for seat, engine in zip(self.seats, self.engines, strict=True) if job in engine.running)

    def progress(self, job: int) -> None:
        self.dispatcher.job_event(self.seat_of(job), Started(job=job), b"")
        self.dispatcher.job_event(self.seat_of(job), Progress(job=job, step=1, total=4), b"")

    def finish(self, job: int) -> None:
        seat = self._free(job)
        outcome = Outcome(
            width=64, height=64, seeds=(1,), inference_time=2.0, device_time=2.0, queue_time=0.0, batch_size=1
        )
        self.dispatcher.job_event(seat, Finished(job=job, outcome=outcome), b"pixels")

    def fail(self, job: int, code: str = "generation_failed") -> None:
        seat = self._free(job)
        self.dispatcher.job_event(seat, Failed(job=job, code=code, sentence="It failed."), b"")

    def lose_engine(self, number: int = 0, *, silent: bool = False) -> None:
        self.engines[number].running.clear()
        self.engines[number].state = "restarting"
        self.dispatcher.engine_lost(self.seats[number], silent=silent)

    def revive(self, number: int = 0) -> None:
        self.engines[number].state = "ready"
        self.load("scripted", seat=self.seats[number])
        self.dispatcher.engine_changed()

    def _free(self, job: int) -> Seat:
        seat = self.seat_of(job)
        self.engines[self.seats.index(seat)].running.remove(job)
        return seat
