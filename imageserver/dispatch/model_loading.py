"""Which models the engine holds and has held, and what is fetched and loaded; each wish is a job in the ledger."""

import itertools
from dataclasses import dataclass, replace

from imageserver.dispatch.engine_process import EngineProcess
from imageserver.dispatch.job_records import JobRecords
from imageserver.dispatch.jobs import Listener
from imageserver.errors import Cancelled, EngineUnavailable, Loading, ServiceError
from imageserver.generation import Generation, ModelInfo
from imageserver.protocol.messages import (
    Failed,
    FetchModel,
    LoadModel,
    LoadProgress,
    Message,
    ModelFetched,
    ModelRequest,
    ModelResponse,
    ModelsLoaded,
    Progress,
    Started,
    UnloadModel,
    failed,
)

PERCENT = 100
# Downloads at a time; more would only share the line.
MAX_FETCHES = 4


@dataclass
class LoadRequest:
    """A client's wish for a model; `on_disk` once nothing more has to be fetched for it."""

    question: ModelRequest
    listener: Listener
    on_disk: bool
    begun: bool = False

    @property
    def name(self) -> str:
        """The model."""
        return self.question.load

    def begin(self) -> None:
        """Tell the client that it is under way."""
        if not self.begun:
            self.begun = True
            self.listener.send(Started(job=self.question.job))


@dataclass(frozen=True)
class Load:
    """A model that the engine is loading, and the number of that exchange."""

    number: int
    name: str


@dataclass(frozen=True)
class LoadEnded:
    """A load that has ended; `failure` says why it has come to nothing."""

    name: str
    failure: ServiceError | None


class ModelLoading:
    """Loads models for clients who ask, and for the job whose turn it is.

    One is loaded at a time, and only from the disk; files are fetched beside that.
    """

    def __init__(self, engine: EngineProcess, job_records: JobRecords) -> None:
        self._engine = engine
        self._ledger = job_records
        self._numbers = itertools.count(1)
        self._load: Load | None = None
        self._fetches: dict[int, str] = {}  # number of the exchange -> model
        self._wishes: dict[int, LoadRequest] = {}
        self._unloads: dict[int, tuple[ModelRequest, Listener]] = {}
        self._first = ""
        self._answers: list[tuple[Listener, Message]] = []
        self.known: dict[str, ModelInfo] = {}
        self.loaded: tuple[str, ...] = ()
        self.default = ""
        # How far the download is that came further last, while there is one.
        self.download: LoadProgress | None = None

    @property
    def info(self) -> ModelInfo | None:
        """What is known of the model that answers requests which name none."""
        return self.known.get(self.default)

    def named(self, generation: Generation) -> Generation:
        """Return the generation with the name of its model, as far as that is known already."""
        return generation if generation.model else replace(generation, model=self.default)

    def info_of(self, generation: Generation) -> ModelInfo | None:
        """Return what is known of the model that generates a generation, None before it was loaded."""
        return self.known.get(self.named(generation).model)

    def ask(self, question: ModelRequest, worker: Listener) -> None:
        """Load or unload a model for a client, who is told by `answer` when that is done."""
        waits_for_first = question.prompt is not None and not question.load
        if not self._engine.listens and not waits_for_first:
            error = Loading(f"The first model is not loaded yet: {self._engine.reason}", retry_after=2)
            self._answers.append((worker, failed(question.job, error)))
        elif question.unload:
            number = next(self._numbers)
            self._unloads[number] = (question, worker)
            # From now on: jobs that were sent after it would find their model gone.
            self.loaded = tuple(name for name in self.loaded if name != question.unload)
            self._engine.tell(UnloadModel(job=number, name=question.unload))
        else:
            listener = self._ledger.open_load(question, worker)
            # What is being fetched is not whole yet, also for those who may not fetch it.
            on_disk = not question.fetch and question.load not in self._fetches.values()
            wish = self._wishes[question.job] = LoadRequest(question, listener, on_disk)
            if waits_for_first:
                wish.begin()
            self._go_on()

    @property
    def requests_waiting(self) -> int:
        """How many requests wait for their models, before they are jobs."""
        return sum(wish.question.prompt is not None for wish in self._wishes.values())

    def answer(self) -> None:
        """Tell clients what has been done for them; by then everybody must know of it."""
        answers, self._answers = self._answers, []
        for listener, message in answers:
            listener.send(message)

    def withdraw(self, number: int) -> None:
        """Let a client go who has asked for a model; what has begun goes on, for the next one who asks."""
        wish = self._wishes.pop(number, None)
        if wish is not None:
            wish.listener.send(failed(number, Cancelled("The client does not wait for the model any more.")))

    def may_run(self, name: str) -> bool:
        """Return whether a job of this model may be sent now; where the model is missing, it is loaded first."""
        if self._load is not None:
            # One that waits for room would never get it if ever new jobs came.
            return False
        if name not in self.loaded:
            self._begin_load(name)
            return False
        return True

    def holds_back(self, generation: Generation) -> bool:
        """Return whether a generation has to wait for a download that others need not wait for, maybe for hours."""
        name = self.named(generation).model
        return name not in self.loaded and name in self._fetches.values()

    def heed_progress(self, message: LoadProgress) -> None:
        """Tell those who wait for the model how far it has come."""
        waiting = []
        if message.job in self._fetches:
            self.download = message
            waiting = self._waiting(self._fetches[message.job], on_disk=False)
        elif self._load is not None and message.job == self._load.number:
            waiting = self._waiting(self._load.name, on_disk=True)
        if message.fraction is not None:
            for wish in waiting:
                percent = int(message.fraction * PERCENT)
                wish.listener.send(Progress(job=wish.question.job, step=percent, total=PERCENT))

    def take_fetched(self, message: ModelFetched) -> None:
        """Go on with the wishes whose files have come, or refuse them."""
        name = self._fetches.pop(message.job, "")
        if self.download is not None and self.download.job == message.job:
            self.download = None
        for wish in self._waiting(name, on_disk=False):
            wish.on_disk = True
            if message.failure is not None:
                self._settle(wish, message.failure)
        self._go_on()

    def take(self, message: ModelsLoaded) -> LoadEnded | None:
        """Note what the engine holds now; return the load that has ended with it."""
        question, listener = self._unloads.pop(message.job, (None, None))
        self.known |= {facts.name: facts for facts in message.models}
        leaving = {asked.unload for asked, _ in self._unloads.values()}
        self.loaded = tuple(facts.name for facts in message.models if facts.name not in leaving)
        self._first = self._first or self.loaded[0]
        self.default = self.default or self._first
        for wish in self._waiting("", on_disk=True):
            self._settle(wish, None)
        if question is not None and listener is not None:
            self._answers.append((listener, _for(question, message.failure, self.known.get(question.unload))))
        if self._load is None or message.job != self._load.number:
            return None
        return self._end_load(message.failure)

    def engine_lost(self) -> LoadEnded | None:
        """Forget what a dead engine held; return the load that has died with it."""
        self.loaded, self.download = (), None
        self._fetches.clear()
        error = EngineUnavailable("The engine died meanwhile.", retry_after=5)
        for question, listener in self._unloads.values():
            self._answers.append((listener, failed(question.job, error)))
        self._unloads.clear()
        ended = None
        if self._load is not None:
            error = EngineUnavailable(f"The engine died while {self._load.name} was loaded.", retry_after=5)
            ended = self._end_load(failed(0, error))
        for wish in list(self._wishes.values()):
            if self._engine.state == "failed":
                self._settle(wish, failed(0, EngineUnavailable(self._engine.reason)))
            elif wish.name:
                self._settle(wish, failed(0, error))
        return ended

    def _end_load(self, failure: Failed | None) -> LoadEnded:
        """Answer those who wait for the load, then go on with the next one."""
        assert self._load is not None
        name, self._load = self._load.name, None
        for wish in self._waiting(name, on_disk=True):
            self._settle(wish, failure)
        self._go_on()
        return LoadEnded(name, failure.as_error() if failure else None)

    def _settle(self, wish: LoadRequest, failure: Failed | None) -> None:
        """Answer a wish, whose model is held unless there is a failure."""
        del self._wishes[wish.question.job]
        if failure is None and wish.question.default:
            self._make_default(wish.name)
        facts = self.known.get(wish.name or self.default)
        self._answers.append((wish.listener, _for(wish.question, failure, facts)))

    def _go_on(self) -> None:
        """Answer who asks for what is held already, and begin what can be begun."""
        if not self._engine.listens:
            return
        for wish in list(self._wishes.values()):
            loads = self._load.name if self._load else None
            if not wish.name:
                self._settle(wish, None)
            elif wish.name in self.loaded:
                # Unless it may have to leave for the one that is being loaded.
                if loads is None:
                    self._settle(wish, None)
            elif not wish.on_disk and wish.name != loads:
                self._begin_fetch(wish)
            elif loads is None and wish.name not in self._fetches.values():
                self._begin_load(wish.name)

    def _begin_fetch(self, wish: LoadRequest) -> None:
        if wish.name not in self._fetches.values():
            if len(self._fetches) >= MAX_FETCHES:
                return
            number = next(self._numbers)
            self._fetches[number] = wish.name
            self._engine.tell(FetchModel(job=number, name=wish.name))
        wish.begin()

    def _begin_load(self, name: str) -> None:
        self._load = Load(next(self._numbers), name)
        for wish in self._waiting(name, on_disk=True):
            wish.begin()
        self._engine.tell(LoadModel(job=self._load.number, name=name))

    def _waiting(self, name: str, *, on_disk: bool) -> list[LoadRequest]:
        """Return the wishes for a model whose files are awaited, or are there."""
        return [wish for wish in self._wishes.values() if (wish.name, wish.on_disk) == (name, on_disk)]

    def _make_default(self, name: str) -> None:
        self.default = name
        # A new engine begins with it; with the first one it decides by the settings again.
        self._engine.model = "" if name == self._first else name


def _for(question: ModelRequest, failure: Failed | None, facts: ModelInfo | None) -> ModelResponse | Failed:
    if failure is not None:
        return failed(question.job, failure.as_error())
    return ModelResponse(job=question.job, info=facts)
