"""A dispatcher with an engine and listeners that do what a test scripts."""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from imageserver.dispatch.dispatcher import Dispatcher
from imageserver.dispatch.model_loading import ModelLoading
from imageserver.generation import ModelInfo, Outcome
from imageserver.protocol.channel import Address
from imageserver.protocol.messages import (
    DeviceUsage,
    Failed,
    FetchModel,
    Finished,
    LoadModel,
    LoadProgress,
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
)
from imageserver.settings import Settings
from tests.support.factories import generation

FACTS = ModelInfo(name="scripted", reason="Scripted.")


class ScriptedEngine:
    """What the dispatcher sees of an engine."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.state, self.phase, self.reason = "ready", "ready", "Scripted."
        self.fraction: float | None = 1.0
        self.ready: Ready | None = Ready(info=FACTS)
        self.restarts = 0
        self.usage = DeviceUsage()
        self.pid: int | None = 1
        self.running: list[int] = []
        self.runs: list[int] = []
        self.sources: list[bytes] = []
        self.cancels: list[int] = []
        self.inspections: list[int] = []
        self.answers_inspections = False
        self.model = ""
        self.loading: LoadProgress | None = None
        self.told: list[FetchModel | LoadModel | UnloadModel] = []
        self.models: list[str] = []

    @property
    def listens(self) -> bool:
        return self.state == "ready"

    def has_room(self, facts: ModelInfo | None) -> bool:
        return facts is not None and self.listens and len(self.running) < self.room

    def run(self, message: Run, source: bytes = b"") -> None:
        self.sources.append(source)
        self.running.append(message.job)
        self.runs.append(message.job)
        self.models.append(message.generation.model)

    def inspect(self, question: TokenCountRequest) -> bool:
        self.inspections.append(question.job)
        return self.answers_inspections

    def cancel(self, job: int) -> None:
        self.cancels.append(job)

    def tell(self, message: FetchModel | LoadModel | UnloadModel) -> None:
        self.told.append(message)


class Ear:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.heard: list[Message] = []

    def send(self, message: Message, raw: bytes = b"") -> None:
        self.heard.append(message)

    def of(self, job: int) -> list[str]:
        """Return what was heard of a job since it was accepted, by name or failure code."""
        mine = [m for m in self.heard if getattr(m, "job", None) == job and not isinstance(m, Queued)]
        return [message.code if isinstance(message, Failed) else type(message).__name__ for message in mine]

    @property
    def answers(self) -> list[ModelResponse | Failed]:
        """What became of models that were asked for, and of jobs that failed."""
        return [message for message in self.heard if isinstance(message, ModelResponse | Failed)]

    @property
    def snapshots(self) -> list[Snapshot]:
        return [message for message in self.heard if isinstance(message, Snapshot)]


class Stage:
    """A dispatcher, its engine and one worker, inside a running loop."""

    def __init__(self, room: int = 1, **settings: Any) -> None:
        self.dispatcher = Dispatcher(Settings(_env_file=None, **settings), Address(path=None, port=1, key=""))
        self.engine = ScriptedEngine(room)
        self.dispatcher.engine = self.engine  # type: ignore[assignment]
        self.dispatcher.models = ModelLoading(self.engine, self.dispatcher.job_records)  # type: ignore[arg-type]
        self.hold("scripted")
        self.ear = Ear()
        self.dispatcher.join(self.ear)

    def hold(self, *names: str, job: int = 0, failure: Failed | None = None) -> None:
        """Let the engine say which models it holds."""
        models = tuple(dataclasses.replace(FACTS, name=name) for name in names)
        self.dispatcher.models_held(ModelsLoaded(job=job, models=models, failure=failure))

    def fetched(self, job: int, failure: Failed | None = None) -> None:
        """Let the engine say that a model's files are on the disk, or why not."""
        self.dispatcher.model_fetched(ModelFetched(job=job, failure=failure))

    def submit(self, *jobs: int, timeout: float = 60.0, ear: Ear | None = None, model: str = "") -> None:
        for job in jobs:
            request = Submit(job=job, generation=generation(model=model), timeout=timeout)
            self.dispatcher.submit(request, ear or self.ear)

    def ask(self, job: int, ear: Ear | None = None, **wanted: Any) -> None:
        """Let a client ask for a model."""
        self.dispatcher.ask_model(ModelRequest(job=job, **wanted), ear or self.ear)

    def progress(self, job: int) -> None:
        self.dispatcher.job_event(Started(job=job), b"")
        self.dispatcher.job_event(Progress(job=job, step=1, total=4), b"")

    def finish(self, job: int) -> None:
        self.engine.running.remove(job)
        outcome = Outcome(
            width=64, height=64, seeds=(1,), inference_time=2.0, device_time=2.0, queue_time=0.0, batch_size=1
        )
        self.dispatcher.job_event(Finished(job=job, outcome=outcome), b"pixels")

    def fail(self, job: int, code: str = "generation_failed") -> None:
        self.engine.running.remove(job)
        self.dispatcher.job_event(Failed(job=job, code=code, sentence="It failed."), b"")

    def lose_engine(self, *, silent: bool = False) -> None:
        self.engine.running.clear()
        self.engine.state = "restarting"
        self.dispatcher.engine_lost(silent=silent)

    def revive(self) -> None:
        self.engine.state = "ready"
        self.hold("scripted")
        self.dispatcher.engine_changed()


@pytest.fixture
def play() -> Callable[..., None]:
    """Run a scene, an async function of a stage: `play(scene, room=2, max_queue=4)`."""

    def run(scene: Callable[[Stage], Coroutine[Any, Any, None]], **options: Any) -> None:
        async def raise_the_curtain() -> None:
            await scene(Stage(**options))

        asyncio.run(raise_the_curtain())

    return run
