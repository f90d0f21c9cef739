"""Downloads, loads and unloads models, for clients and for jobs, and knows which are loaded."""

import itertools
from dataclasses import dataclass, replace

from imageserver.dispatch.engine_process import EngineProcess
from imageserver.dispatch.job_records import JobRecords
from imageserver.dispatch.jobs import Listener
from imageserver.errors import Cancelled, EngineUnavailable, Loading, ServiceError
from imageserver.generation import Generation, ModelInfo
from imageserver.protocol import messages
from imageserver.protocol.engine_config import InitialModel

PERCENT = 100
# Downloads at a time; more would only share the line.
MAX_FETCHES = 4


@dataclass
class LoadRequest:
    """A client that waits for a model; `on_disk` once nothing more has to be fetched for it."""

    request: messages.ModelRequest
    listener: Listener
    on_disk: bool
    begun: bool = False

    @property
    def name(self) -> str:
        return self.request.load

    def begin(self) -> None:
        if not self.begun:
            self.begun = True
            self.listener.send(messages.Started(job=self.request.job))


@dataclass(frozen=True)
class Load:
    """A model that the engine is loading, and the number of that exchange."""

    number: int
    name: str


@dataclass(frozen=True)
class LoadEnded:
    """A load that has ended; `failure` says why the model is not loaded."""

    name: str
    failure: ServiceError | None


class ModelLoading:
    """Loads models for clients who ask, and for the job that is served next.

    One is loaded at a time, and only from the disk; files are fetched beside that.
    """

    def __init__(self, engine: EngineProcess, job_records: JobRecords) -> None:
        self._engine = engine
        self._job_records = job_records
        self._numbers = itertools.count(1)
        self._load: Load | None = None
        self._fetches: dict[int, str] = {}  # number of the exchange -> model
        self._requests: dict[int, LoadRequest] = {}
        self._unloads: dict[int, tuple[messages.ModelRequest, Listener]] = {}
        self._initial = ""
        self._responses: list[tuple[Listener, messages.Message]] = []
        self.known: dict[str, ModelInfo] = {}
        self.loaded: tuple[str, ...] = ()
        self.default = ""
        # How far the download is that came further last, while there is one.
        self.download: messages.LoadProgress | None = None

    @property
    def info(self) -> ModelInfo | None:
        """The info of the default model, None before it was loaded."""
        return self.known.get(self.default)

    @property
    def requests_waiting(self) -> int:
        """How many requests wait for their models, before they are jobs."""
        return sum(waiting.request.prompt is not None for waiting in self._requests.values())

    def requests_of(self, credential: str) -> int:
        """Return how many of the requests that wait for their models are a credential's."""
        waiting = (each.request for each in self._requests.values())
        return sum(request.prompt is not None and request.credential == credential for request in waiting)

    @property
    def is_busy(self) -> bool:
        """Whether a model is fetched, loaded or unloaded, or a client waits for one."""
        return bool(self._load or self._fetches or self._requests or self._unloads)

    def with_model_name(self, generation: Generation) -> Generation:
        """Return the generation with the name of its model, if already known."""
        return generation if generation.model else replace(generation, model=self.default)

    def info_of(self, generation: Generation) -> ModelInfo | None:
        """Return the info of a generation's model, None before it was loaded."""
        return self.known.get(self.with_model_name(generation).model)

    def submit(self, request: messages.ModelRequest, worker: Listener) -> None:
        """Load or unload a model for a client; `send_responses` sends the answer later."""
        waits_for_default = request.prompt is not None and not request.load
        is_idle = self._engine.state == "idle"
        waits_for_engine = waits_for_default or (self._engine.is_resting and not request.unload)
        if request.unload and is_idle:
            self._responses.append((worker, _response_to(request, None, self.known.get(request.unload))))
        elif not self._engine.is_ready and not waits_for_engine:
            error = Loading(f"The first model is not loaded yet: {self._engine.reason}", retry_after=2)
            self._responses.append((worker, messages.failed(request.job, error)))
        elif request.unload:
            number = next(self._numbers)
            self._unloads[number] = (request, worker)
            # From now on: jobs that were sent after it would find their model gone.
            self.loaded = tuple(name for name in self.loaded if name != request.unload)
            self._engine.send(messages.UnloadModel(job=number, name=request.unload))
        else:
            listener = self._job_records.open_load(request, worker)
            # What is being fetched is not whole yet, also for those who may not fetch it.
            on_disk = not request.fetch and request.load not in self._fetches.values()
            waiting = self._requests[request.job] = LoadRequest(request, listener, on_disk)
            if waits_for_default:
                waiting.begin()
            self.advance()

    def send_responses(self) -> None:
        """Send the responses that are due; the snapshot that they agree with must have been sent before."""
        responses, self._responses = self._responses, []
        for listener, message in responses:
            listener.send(message)

    def cancel(self, number: int) -> None:
        """End a client's wait for a model; a load that has begun goes on, for the next client."""
        waiting = self._requests.pop(number, None)
        if waiting is not None:
            waiting.listener.send(
                messages.failed(number, Cancelled("The client does not wait for the model any more."))
            )

    def may_run(self, name: str) -> bool:
        """Return whether a job of this model may be sent now; where the model is missing, it is loaded first."""
        if self._load is not None:
            # One that waits for room would never get it if new jobs kept coming.
            return False
        if name not in self.loaded:
            self._begin_load(name)
            return False
        return True

    def holds_back(self, generation: Generation) -> bool:
        """Return whether a generation has to wait for a download that others need not wait for, maybe for hours."""
        name = self.with_model_name(generation).model
        return name not in self.loaded and name in self._fetches.values()

    def notify_progress(self, message: messages.LoadProgress) -> None:
        """Notify the clients that wait for the model how far it has come."""
        waiting = []
        if message.job in self._fetches:
            self.download = message
            waiting = self._waiting(self._fetches[message.job], on_disk=False)
        elif self._load is not None and message.job == self._load.number:
            waiting = self._waiting(self._load.name, on_disk=True)
        if message.fraction is not None:
            for one in waiting:
                percent = int(message.fraction * PERCENT)
                one.listener.send(messages.Progress(job=one.request.job, step=percent, total=PERCENT))

    def receive_fetched(self, message: messages.ModelFetched) -> None:
        """Load a downloaded model for the clients that wait for it, or refuse them."""
        name = self._fetches.pop(message.job, "")
        if self.download is not None and self.download.job == message.job:
            self.download = None
        for waiting in self._waiting(name, on_disk=False):
            waiting.on_disk = True
            if message.failure is not None:
                self._resolve(waiting, message.failure)
        self.advance()

    def receive_loaded(self, message: messages.ModelsLoaded) -> LoadEnded | None:
        """Record the engine's loaded models; return the load that this ended."""
        request, listener = self._unloads.pop(message.job, (None, None))
        self.known |= {info.name: info for info in message.models}
        leaving = {unloaded.unload for unloaded, _ in self._unloads.values()}
        self.loaded = tuple(info.name for info in message.models if info.name not in leaving)
        if message.job == 0:  # a new engine, which may have been unable to begin with the default model
            self.default = message.models[0].name
            self._initial = self._initial or self.default
        for waiting in self._waiting("", on_disk=True):
            self._resolve(waiting, None)
        if request is not None and listener is not None:
            response = _response_to(request, message.failure, self.known.get(request.unload))
            self._responses.append((listener, response))
        if self._load is None or message.job != self._load.number:
            return None
        return self._end_load(message.failure)

    def engine_lost(self) -> LoadEnded | None:
        """Forget a dead engine's models; return the load that it was running."""
        self.loaded, self.download = (), None
        self._fetches.clear()
        error = EngineUnavailable("The engine died meanwhile.", retry_after=5)
        for request, listener in self._unloads.values():
            self._responses.append((listener, messages.failed(request.job, error)))
        self._unloads.clear()
        ended = None
        if self._load is not None:
            error = EngineUnavailable(f"The engine died while {self._load.name} was loaded.", retry_after=5)
            ended = self._end_load(messages.failed(0, error))
        for waiting in list(self._requests.values()):
            if self._engine.state == "failed":
                self._resolve(waiting, messages.failed(0, EngineUnavailable(self._engine.reason)))
            elif waiting.name:
                self._resolve(waiting, messages.failed(0, error))
        return ended

    def _end_load(self, failure: messages.Failed | None) -> LoadEnded:
        """Answer the clients that wait for the load, then begin the next one."""
        assert self._load is not None
        name, self._load = self._load.name, None
        for waiting in self._waiting(name, on_disk=True):
            self._resolve(waiting, failure)
        self.advance()
        return LoadEnded(name, failure.as_error() if failure else None)

    def _resolve(self, waiting: LoadRequest, failure: messages.Failed | None) -> None:
        """Answer a request, whose model is loaded unless there is a failure."""
        del self._requests[waiting.request.job]
        if failure is None and waiting.request.default:
            self._make_default(waiting.name)
        info = self.known.get(waiting.name or self.default)
        self._responses.append((waiting.listener, _response_to(waiting.request, failure, info)))

    def advance(self) -> None:
        """Answer requests for loaded models, and begin the loads and downloads that can begin."""
        if not self._engine.is_ready:
            return
        for waiting in list(self._requests.values()):
            loads = self._load.name if self._load else None
            if not waiting.name:
                self._resolve(waiting, None)
            elif waiting.name in self.loaded:
                # Unless it may have to leave for the one that is being loaded.
                if loads is None:
                    self._resolve(waiting, None)
            elif not waiting.on_disk and waiting.name != loads:
                self._begin_fetch(waiting)
            elif loads is None and waiting.name not in self._fetches.values():
                self._begin_load(waiting.name)

    def _begin_fetch(self, waiting: LoadRequest) -> None:
        if waiting.name not in self._fetches.values():
            if len(self._fetches) >= MAX_FETCHES:
                return
            number = next(self._numbers)
            self._fetches[number] = waiting.name
            self._engine.send(messages.FetchModel(job=number, name=waiting.name))
        waiting.begin()

    def _begin_load(self, name: str) -> None:
        self._load = Load(next(self._numbers), name)
        for waiting in self._waiting(name, on_disk=True):
            waiting.begin()
        self._engine.send(messages.LoadModel(job=self._load.number, name=name))

    def _waiting(self, name: str, *, on_disk: bool) -> list[LoadRequest]:
        """Return the requests for a model, before or after its download."""
        return [waiting for waiting in self._requests.values() if (waiting.name, waiting.on_disk) == (name, on_disk)]

    def _make_default(self, name: str) -> None:
        self.default = name
        # A new engine begins with it.
        self._engine.default_model = None if name == self._initial else InitialModel.of(self.known[name])


def _response_to(
    request: messages.ModelRequest, failure: messages.Failed | None, info: ModelInfo | None
) -> messages.ModelResponse | messages.Failed:
    if failure is not None:
        return messages.failed(request.job, failure.as_error())
    return messages.ModelResponse(job=request.job, info=info)
