"""What one engine has loaded, and what it is loading or unloading."""

import asyncio
from dataclasses import dataclass

from imageserver.dispatch.seats.engines.engine_process import EngineProcess
from imageserver.errors import EngineUnavailable, ServiceError
from imageserver.generation import ModelInfo
from imageserver.protocol import messages
from imageserver.protocol.initial_model import InitialModel


@dataclass(frozen=True)
class Load:
    """A model that the engine is loading, and the number of that exchange."""

    number: int
    name: str


@dataclass(frozen=True)
class LoadEnded:
    """A load that has ended; `failure` says why the model is not loaded.

    `retry_after` are the seconds after which the same engine may be able to load it, None where it never will.
    """

    name: str
    failure: ServiceError | None
    retry_after: float | None = None


@dataclass(frozen=True)
class Postponement:
    """A load that the engine refused for now, and the moment from which it is asked again."""

    failure: ServiceError
    until: float


class SeatModels:
    """The models of one seat; one is loaded at a time, and only from the disk."""

    def __init__(self, engine: EngineProcess) -> None:
        self._engine = engine
        self._unloads: dict[int, str] = {}
        self.loading: Load | None = None
        self.loaded: tuple[str, ...] = ()
        # As this device holds them, also those that it has unloaded; and the machine that has it.
        self.known: dict[str, ModelInfo] = {}
        self._machine = ""
        # Those that could not be loaded here while another seat may still hold them.
        self.unloadable: set[str] = set()
        self._postponed: dict[str, Postponement] = {}
        # Those whose files its machine was told to fetch, because others have them.
        self.fetched: set[str] = set()

    @property
    def is_busy(self) -> bool:
        return bool(self.loading or self._unloads)

    def may_load(self, name: str) -> bool:
        """Return whether a model may be loaded now that is not there yet."""
        absent = name not in self.loaded and not self.refuses(name)
        return absent and self.loading is None and self._engine.is_ready

    def refuses(self, name: str) -> bool:
        """Return whether a model could not be loaded here, and is not to be tried now."""
        return name in self.unloadable or self.postponement(name) is not None

    @property
    def refused(self) -> set[str]:
        """The models that could not be loaded here, for good or for a while."""
        return self.unloadable | set(self._postponed)

    def postponement(self, name: str) -> ServiceError | None:
        """Return why a model cannot be loaded yet, None where nothing is known that will pass by itself."""
        postponed = self._postponed.get(name)
        if postponed is None or asyncio.get_running_loop().time() >= postponed.until:
            return None
        return postponed.failure

    def record_refusal(self, ended: LoadEnded) -> None:
        """Let another seat try a model that could not be loaded here: for good, or until this one may again."""
        if ended.failure is None or ended.retry_after is None:
            self.unloadable.add(ended.name)
        else:
            until = asyncio.get_running_loop().time() + ended.retry_after
            self._postponed[ended.name] = Postponement(ended.failure, until)

    def forget_refusal(self, name: str) -> None:
        """Let a model be tried here again."""
        self.unloadable.discard(name)
        self._postponed.pop(name, None)

    def is_loading(self, name: str) -> bool:
        return self.loading is not None and self.loading.name == name

    def initial(self, name: str) -> InitialModel | None:
        """Return a model for the next engine to begin with, as it is known here."""
        info = self.known.get(name)
        return InitialModel.of(info, self._machine) if info else None

    def load(self, number: int, name: str) -> None:
        self.loading = Load(number, name)
        self._engine.send(messages.LoadModel(job=number, name=name))

    def unload(self, number: int, name: str) -> None:
        self._unloads[number] = name
        self.unloadable.clear()  # there is room again
        # From now on: jobs that were sent after it would find their model gone.
        self.loaded = tuple(other for other in self.loaded if other != name)
        self._engine.send(messages.UnloadModel(job=number, name=name))

    def receive_loaded(self, message: messages.ModelsLoaded) -> LoadEnded | None:
        """Record the engine's loaded models; return the load that this ended."""
        self._unloads.pop(message.job, None)
        if self._engine.machine != self._machine:
            self.known, self._machine = {}, self._engine.machine
        self.known |= {info.name: info for info in message.models}
        leaving = set(self._unloads.values())
        self.loaded = tuple(info.name for info in message.models if info.name not in leaving)
        for name in self.loaded:
            self.forget_refusal(name)
        if self.loading is None or message.job != self.loading.number:
            return None
        failure = message.failure.as_error() if message.failure else None
        # Of an engine that is alive, this says that its cards are being started again.
        is_for_now = isinstance(failure, EngineUnavailable)
        ended = LoadEnded(self.loading.name, failure, failure.retry_after if failure and is_for_now else None)
        self.loading = None
        return ended

    def engine_lost(self) -> tuple[LoadEnded | None, tuple[int, ...]]:
        """Forget a dead engine's models; return the load, and the numbers of the unloads, that it died over."""
        ended = None
        if self.loading is not None:
            sentence = f"The engine died while {self.loading.name} was loaded."
            ended = LoadEnded(self.loading.name, EngineUnavailable(sentence, retry_after=5))
        unloads = tuple(self._unloads)
        self.loaded, self.loading = (), None
        self._unloads.clear()
        self.unloadable.clear()
        self._postponed.clear()
        self.fetched.clear()
        return ended, unloads
