"""Load models while others generate: threads fetch their files, the weights are read between two forwards."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from imageserver.engine.batching.step_scheduler import Send
from imageserver.engine.devices.devices import DeviceUnavailable
from imageserver.engine.downloads import CardsAway, ModelUnavailable, NotOnDisk, Report
from imageserver.engine.models.model_choice import FoundModel
from imageserver.engine.models.model_pool import ModelPool
from imageserver.errors import EngineUnavailable, ModelUnloadable, ServiceError
from imageserver.protocol.messages import FetchModel, LoadModel, ModelFetched, ModelsLoaded, UnloadModel, failed

logger = logging.getLogger(__name__)


# Cards are started again at once, or after a pause.
CARDS_RETRY_SECONDS = 60

# A `Report` with the number of the fetch or load that it belongs to.
NumberedReport = Callable[[str, str, float | None, int], None]


@dataclass(frozen=True)
class ModelSearch:
    """The result of the search for a model's files."""

    request: LoadModel
    found: FoundModel | None = None
    failure: ServiceError | None = None


class LoadQueue:
    """Any number of fetches, and one load at a time: the dispatcher sends the second after the first is answered."""

    def __init__(
        self, pool: ModelPool, send: Send, report: NumberedReport, wake: Callable[[ModelSearch], None]
    ) -> None:
        """`wake` passes a finished search to the engine's main thread, which calls `receive`."""
        self._pool = pool
        self._send = send
        self._report = report
        self._wake = wake
        self._waiting: tuple[LoadModel, FoundModel] | None = None

    def fetch(self, request: FetchModel) -> None:
        """Download a model's files in a thread of its own: that may take hours."""
        threading.Thread(target=self._fetch, args=(request,), name="fetch-model", daemon=True).start()

    def load(self, request: LoadModel) -> None:
        """Look for the model's files in a thread of its own: disks may be slow or remote."""
        if self._pool.is_loaded(request.name):
            self._answer(request.job)
            return
        threading.Thread(target=self._search, args=(request,), name="find-model", daemon=True).start()

    def receive(self, search: object) -> None:
        """Continue with a model whose files are there; anything but a `ModelSearch` is ignored."""
        if not isinstance(search, ModelSearch):
            return
        if search.found is None:
            self._answer(search.request.job, search.failure)
            return
        self._waiting = (search.request, search.found)
        self.load_waiting()
        if self._waiting is not None:
            sentence = f"{search.found.name} waits for running images to finish."
            self._report("waiting", sentence, None, search.request.job)

    def load_waiting(self) -> None:
        """Load the waiting model once there is room; all jobs pause meanwhile."""
        if self._waiting is None:
            return
        request, found = self._waiting
        try:
            if not self._pool.make_room(found):
                return
            self._pool.load(found, self._report_on(request.job))
        except (ModelUnavailable, DeviceUnavailable) as error:
            self._waiting = None
            self._answer(request.job, _refusal(error))
            return
        self._waiting = None
        self._answer(request.job)

    def unload(self, request: UnloadModel) -> None:
        try:
            self._pool.unload(request.name)
        except ServiceError as error:
            self._answer(request.job, error)
            return
        self._answer(request.job)

    def _fetch(self, request: FetchModel) -> None:
        ended = self._find(request, fetch=True)
        failure = failed(request.job, ended) if isinstance(ended, ServiceError) else None
        self._send(ModelFetched(job=request.job, failure=failure), b"")

    def _search(self, request: LoadModel) -> None:
        ended = self._find(request, fetch=False)
        if isinstance(ended, ServiceError):
            self._wake(ModelSearch(request, failure=ended))
        else:
            self._wake(ModelSearch(request, found=ended))

    def _find(self, request: FetchModel | LoadModel, *, fetch: bool) -> FoundModel | ServiceError:
        try:
            return self._pool.find(request.name, self._report_on(request.job), fetch=fetch)
        except NotOnDisk as error:
            sentence = str(error)
            if not fetch:
                sentence = f"The files of {request.name} are not on the disk; POST /v1/models/load fetches them."
            return ModelUnloadable(sentence, param="model")
        except (ModelUnavailable, DeviceUnavailable) as error:
            return _refusal(error)
        except Exception as error:
            logger.exception("Looking for %s failed.", request.name)
            return ServiceError(f"{request.name} could not be read ({type(error).__name__}).")

    def _report_on(self, job: int) -> Report:
        return lambda phase, sentence, fraction: self._report(phase, sentence, fraction, job)

    def _answer(self, job: int, error: ServiceError | None = None) -> None:
        failure = failed(job, error) if error else None
        self._send(ModelsLoaded(job=job, models=self._pool.loaded, failure=failure), b"")


def _refusal(error: ModelUnavailable | DeviceUnavailable) -> ServiceError:
    """Return what the client of a model reads that cannot be loaded, or not yet."""
    if isinstance(error, CardsAway):
        return EngineUnavailable(str(error), retry_after=CARDS_RETRY_SECONDS)
    return ModelUnloadable(str(error), param="model")
