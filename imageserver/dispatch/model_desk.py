"""Which models the engine holds and has held, and their loads: one at a time, each a job in the ledger."""

import itertools
from dataclasses import dataclass, replace

from imageserver.dispatch.jobs import Listener
from imageserver.dispatch.ledger import Ledger
from imageserver.dispatch.supervision import Engine
from imageserver.errors import Cancelled, EngineUnavailable, ServiceError
from imageserver.errors import Loading as StillLoading
from imageserver.generation import Generation, ModelFacts
from imageserver.messages import (
    AskModel,
    Failed,
    Loading,
    LoadModel,
    Message,
    ModelAnswer,
    ModelsHeld,
    Progress,
    Started,
    UnloadModel,
    failed,
)

PERCENT = 100


@dataclass(frozen=True)
class Load:
    """A model that the engine is loading, and the number of that exchange; with `fetch` it may be downloaded."""

    number: int
    name: str
    fetch: bool


@dataclass(frozen=True)
class LoadEnded:
    """A load that has ended; `failure` says why it has come to nothing."""

    name: str
    failure: ServiceError | None


class ModelDesk:
    """Loads models for clients who ask, and for the job whose turn it is."""

    def __init__(self, engine: Engine, ledger: Ledger) -> None:
        self._engine = engine
        self._ledger = ledger
        self._numbers = itertools.count(1)
        self._load: Load | None = None
        self._asks: dict[int, tuple[AskModel, Listener]] = {}
        self._unloads: dict[int, tuple[AskModel, Listener]] = {}
        self._first = ""
        self._answers: list[tuple[Listener, Message]] = []
        self.known: dict[str, ModelFacts] = {}
        self.held: tuple[str, ...] = ()
        self.default = ""

    @property
    def facts(self) -> ModelFacts | None:
        """What is known of the model that answers requests which name none."""
        return self.known.get(self.default)

    @property
    def _downloads(self) -> bool:
        return self._engine.loading is not None and self._engine.loading.phase == "downloading"

    def named(self, generation: Generation) -> Generation:
        """Return the generation with the name of its model, as far as that is known already."""
        return generation if generation.model else replace(generation, model=self.default)

    def facts_of(self, generation: Generation) -> ModelFacts | None:
        """Return what is known of the model that draws a generation, None before it was loaded."""
        return self.known.get(self.named(generation).model)

    def ask(self, question: AskModel, worker: Listener) -> None:
        """Load or unload a model for a client, who is told by `answer` when that is done."""
        if not self._engine.listens:
            error = StillLoading(f"The first model is not loaded yet: {self._engine.reason}", retry_after=2)
            self._answers.append((worker, failed(question.job, error)))
        elif question.unload:
            number = next(self._numbers)
            self._unloads[number] = (question, worker)
            self._engine.tell(UnloadModel(job=number, name=question.unload))
        else:
            self._asks[question.job] = (question, self._ledger.open_load(question, worker))
            self._go_on()

    def answer(self) -> None:
        """Tell clients what has been done for them; by then everybody must know of it."""
        answers, self._answers = self._answers, []
        for listener, message in answers:
            listener.send(message)

    def withdraw(self, number: int) -> None:
        """Let a client go who has asked for a model; a load that has begun goes on, for the next one who asks."""
        _, listener = self._asks.pop(number, (None, None))
        if listener is not None:
            listener.send(failed(number, Cancelled("The client does not wait for the model any more.")))

    def may_run(self, name: str) -> bool:
        """Return whether a job of this model may be sent now; where the model is missing, it is loaded first."""
        held = name in self.held
        if self._load is None:
            if not held:
                self._begin(name)
            return held
        # One that waits for room would never get it if ever new jobs came.
        return held and self._downloads

    def holds_back(self, generation: Generation) -> bool:
        """Return whether a generation has to wait for a download that others need not wait for, maybe for hours."""
        fetches = self._load is not None and self._load.fetch and self._downloads
        return fetches and self.named(generation).model not in self.held

    def heed_progress(self, message: Loading) -> None:
        """Tell those who wait for the model how far it has come."""
        if message.fraction is not None:
            for question, listener in self._waiting():
                percent = int(message.fraction * PERCENT)
                listener.send(Progress(job=question.job, step=percent, total=PERCENT))

    def take(self, message: ModelsHeld) -> LoadEnded | None:
        """Note what the engine holds now; return the load that has ended with it."""
        self.known |= {facts.name: facts for facts in message.models}
        self.held = tuple(facts.name for facts in message.models)
        self._first = self._first or self.held[0]
        self.default = self.default or self._first
        question, listener = self._unloads.pop(message.job, (None, None))
        if question is not None and listener is not None:
            self._answers.append((listener, _for(question, message.failure, self.known.get(question.unload))))
        if self._load is None or message.job != self._load.number:
            return None
        ended = LoadEnded(self._load.name, message.failure.as_error() if message.failure else None)
        self._end(message.failure)
        return ended

    def engine_lost(self) -> LoadEnded | None:
        """Forget what a dead engine held; return the load that has died with it."""
        self.held = ()
        error = EngineUnavailable("The engine died meanwhile.", retry_after=5)
        for question, listener in self._unloads.values():
            self._answers.append((listener, failed(question.job, error)))
        self._unloads.clear()
        ended = None
        if self._load is not None:
            error = EngineUnavailable(f"The engine died while {self._load.name} was loaded.", retry_after=5)
            ended = LoadEnded(self._load.name, error)
            self._end(failed(0, error))
        for number in list(self._asks):
            _, listener = self._asks.pop(number)
            self._answers.append((listener, failed(number, error)))
        return ended

    def _end(self, failure: Failed | None) -> None:
        """Answer those who wait for the load, then begin the next one."""
        assert self._load is not None
        name = self._load.name
        for question, listener in self._waiting():
            del self._asks[question.job]
            if failure is None and question.default:
                self._make_default(name)
            self._answers.append((listener, _for(question, failure, self.known.get(name))))
        self._load = None
        self._go_on()

    def _go_on(self) -> None:
        """Answer who asks for what is there already, and begin the next load."""
        if self._load is not None or not self._engine.listens:
            return
        for question, listener in list(self._asks.values()):
            if question.load in self.held:
                del self._asks[question.job]
                if question.default:
                    self._make_default(question.load)
                self._answers.append((listener, ModelAnswer(job=question.job, facts=self.known[question.load])))
        if self._asks:
            question, _ = next(iter(self._asks.values()))
            self._begin(question.load)

    def _begin(self, name: str) -> None:
        fetch = any(question.fetch for question, _ in self._asks.values() if question.load == name)
        self._load = Load(next(self._numbers), name, fetch)
        for question, listener in self._waiting():
            listener.send(Started(job=question.job))
        self._engine.tell(LoadModel(job=self._load.number, name=name, fetch=fetch))

    def _waiting(self) -> list[tuple[AskModel, Listener]]:
        """Return who waits for the load under way; one that may fetch nothing is not what others wait for who may."""
        load = self._load
        if load is None:
            return []
        return [
            (question, listener)
            for question, listener in self._asks.values()
            if question.load == load.name and question.fetch <= load.fetch
        ]

    def _make_default(self, name: str) -> None:
        self.default = name
        # A new engine begins with it; with the first one it decides by the settings again.
        self._engine.model = "" if name == self._first else name


def _for(question: AskModel, failure: Failed | None, facts: ModelFacts | None) -> ModelAnswer | Failed:
    if failure is not None:
        return failed(question.job, failure.as_error())
    return ModelAnswer(job=question.job, facts=facts)
