"""What one engine has loaded, and what it is loading or unloading."""

from dataclasses import dataclass

from imageserver.dispatch.seats.engines.engine_process import EngineProcess
from imageserver.errors import EngineUnavailable, ServiceError
from imageserver.generation import ModelInfo
from imageserver.protocol import messages


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


class SeatModels:
    """The models of one seat; one is loaded at a time, and only from the disk."""

    def __init__(self, engine: EngineProcess) -> None:
        self._engine = engine
        self._unloads: dict[int, str] = {}
        self.loading: Load | None = None
        self.loaded: tuple[str, ...] = ()
        # As this device holds them, also those that it has unloaded.
        self.known: dict[str, ModelInfo] = {}
        # Those that could not be loaded here while another seat may still hold them.
        self.unloadable: set[str] = set()
        # Those whose files its machine was told to fetch, because others have them.
        self.fetched: set[str] = set()

    @property
    def is_busy(self) -> bool:
        return bool(self.loading or self._unloads)

    def may_load(self, name: str) -> bool:
        """Return whether a model may be loaded now that is not there yet."""
        absent = name not in self.loaded and name not in self.unloadable
        return absent and self.loading is None and self._engine.is_ready

    def is_loading(self, name: str) -> bool:
        return self.loading is not None and self.loading.name == name

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
        self.known |= {info.name: info for info in message.models}
        leaving = set(self._unloads.values())
        self.loaded = tuple(info.name for info in message.models if info.name not in leaving)
        self.unloadable -= set(self.loaded)
        if self.loading is None or message.job != self.loading.number:
            return None
        ended = LoadEnded(self.loading.name, message.failure.as_error() if message.failure else None)
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
        self.fetched.clear()
        return ended, unloads
