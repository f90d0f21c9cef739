"""Downloads, loads and unloads models, for clients and for jobs, and knows which are loaded."""

import asyncio
import itertools
from dataclasses import replace

from imageserver.dispatch.job_records import JobRecords
from imageserver.dispatch.jobs import Listener
from imageserver.dispatch.models.downloads import Downloads
from imageserver.dispatch.models.file_copies import FileCopies
from imageserver.dispatch.models.known_models import known_models
from imageserver.dispatch.models.load_request import LoadRequest
from imageserver.dispatch.models.unloading import Unloading
from imageserver.dispatch.seats.seat import Seat
from imageserver.dispatch.seats.seat_list import SeatList
from imageserver.dispatch.seats.seat_models import LoadEnded
from imageserver.errors import Cancelled, EngineUnavailable, Loading, ServiceError
from imageserver.generation import Generation, ModelInfo
from imageserver.protocol import messages

PERCENT = 100


class ModelLoading:
    """Loads models for clients who ask, and for the job that is served next.

    Each seat loads one at a time, and only from the disk; files are fetched beside that. A client's load goes to every
    seat that has nothing else to load, and is done when the first one has the model; a job's goes to one seat.
    """

    def __init__(self, seats: SeatList, job_records: JobRecords) -> None:
        self._seats = seats
        self._job_records = job_records
        self._numbers = itertools.count(1)
        self._clock = asyncio.get_running_loop().time
        self._downloads = Downloads(self._numbers)
        self._copies = FileCopies(self._numbers)
        self._unloading = Unloading(self._numbers)
        self._requests: dict[int, LoadRequest] = {}
        self._initial = ""
        self._responses: list[tuple[Listener, messages.Message]] = []
        # Also those of seats that are gone.
        self.known: dict[str, ModelInfo] = {}
        self.default = ""

    @property
    def info(self) -> ModelInfo | None:
        """The info of the default model, None before it was loaded."""
        return self.known.get(self.default)

    @property
    def download(self) -> messages.LoadProgress | None:
        """How far the download is that came further last, while there is one."""
        return self._downloads.progress

    @property
    def loaded(self) -> tuple[str, ...]:
        """The names of the models that a seat has in memory."""
        return tuple(dict.fromkeys(name for seat in self._seats for name in seat.models.loaded))

    @property
    def requests_waiting(self) -> int:
        """How many requests wait for their models, before they are jobs."""
        return sum(waiting.is_generation for waiting in self._requests.values())

    def requests_of(self, credential: str) -> int:
        """Return how many of the requests that wait for their models are a credential's."""
        waiting = self._requests.values()
        return sum(each.is_generation and each.request.credential == credential for each in waiting)

    @property
    def is_requested(self) -> bool:
        """Whether a client waits for a model."""
        return bool(self._requests)

    @property
    def is_busy(self) -> bool:
        """Whether a client waits for a model, or one is fetched."""
        return bool(self._downloads or self._copies or self._requests or self._unloading)

    def with_model_name(self, generation: Generation) -> Generation:
        """Return the generation with the name of its model, if already known."""
        return generation if generation.model else replace(generation, model=self.default)

    def info_of(self, generation: Generation) -> ModelInfo | None:
        """Return the info of a generation's model, None before it was loaded."""
        return self.known.get(self.with_model_name(generation).model)

    def submit(self, request: messages.ModelRequest, worker: Listener) -> None:
        """Load or unload a model for a client; `send_responses` sends the answer later."""
        waits_for_default = request.prompt is not None and not request.load
        ready, leading = self._seats.ready, self._seats.leading
        is_idle = not ready and "idle" in self._seats.states
        is_resting = not ready and leading is not None and leading.engine.is_resting
        # One asks for a machine where there is none, and is woken where it rests.
        will_come = not self._seats.are_hopeless and (is_resting or not self._seats.are_coming)
        waits_for_engine = waits_for_default or (will_come and not request.unload)
        if request.unload and is_idle:
            self._responses.append((worker, _response_to(request, None, self.known.get(request.unload))))
        elif not ready and not waits_for_engine:
            sentence = f"The first model is not loaded yet: {self._seats.reason}"
            error = Loading(sentence, retry_after=self._seats.retry_after)
            self._responses.append((worker, messages.failed(request.job, error)))
        elif request.unload:
            # Where none has it, the first engine says so.
            seats = self._seats.holding(request.unload) or ready[:1]
            self._unloading.begin(request, worker, seats)
        else:
            listener = self._job_records.open_load(request, worker)
            # What is being fetched is not whole yet, also for those who may not fetch it.
            on_disk = not request.fetch and request.load not in self._downloads
            waiting = self._requests[request.job] = LoadRequest(request, listener, on_disk, self._clock())
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

    @property
    def is_downloading(self) -> bool:
        """Whether `holds_back` may be true of a generation."""
        return bool(self._downloads)

    def holds_back(self, generation: Generation) -> bool:
        """Return whether a generation has to wait for a download that others need not wait for, maybe for hours."""
        name = self.with_model_name(generation).model
        return name in self._downloads and name not in self.loaded

    def notify_progress(self, seat: Seat, message: messages.LoadProgress) -> None:
        """Notify the clients that wait for the model how far it has come."""
        waiting = []
        if fetched := self._downloads.advance(message):
            waiting = self._waiting(fetched, on_disk=False)
        elif seat.models.loading is not None and message.job == seat.models.loading.number:
            waiting = self._waiting(seat.models.loading.name, on_disk=True)
        if message.fraction is not None:
            for one in waiting:
                percent = int(message.fraction * PERCENT)
                one.listener.send(messages.Progress(job=one.request.job, step=percent, total=PERCENT))

    def receive_fetched(self, message: messages.ModelFetched) -> None:
        """Load a downloaded model for the clients that wait for it, or refuse them."""
        self._copies.end(message, self._seats)
        for waiting in self._waiting(self._downloads.end(message.job), on_disk=False):
            waiting.on_disk = True
            if message.failure is not None:
                self._resolve(waiting, message.failure)
        self.advance()

    def receive_loaded(self, seat: Seat, message: messages.ModelsLoaded) -> LoadEnded | None:
        """Record a seat's loaded models; return the load that has ended with this on all seats."""
        ended = seat.models.receive_loaded(message)
        self.known |= known_models(list(self._seats))
        if message.job == 0:
            self._record_first(message.models[0].name)
        self._choose_initial(seat)
        for waiting in self._waiting("", on_disk=True):
            self._resolve(waiting, None)
        self._answer_unload(message.job, message.failure)
        return None if ended is None else self._end_load(seat, ended)

    def engine_lost(self, seat: Seat) -> LoadEnded | None:
        """Forget a dead engine's models; return the load that has ended with it on all seats."""
        self._downloads.seat_lost(seat)
        self._copies.seat_lost(seat)
        self.known |= known_models(list(self._seats))  # without what this seat alone could do, where it is gone
        error = EngineUnavailable("The engine died meanwhile.", retry_after=5)
        lost, unloads = seat.models.engine_lost()
        for number in unloads:
            self._answer_unload(number, messages.failed(0, error))
        ended = None if lost is None else self._end_load(seat, lost)
        self._forget_refusals()
        if self._seats.ready:
            self.advance()  # on the other seats
            return ended
        # Those who wait for another engine lose nothing with one elsewhere that never had its model.
        had_none = seat.is_waiting_for_machine or (seat.is_far and seat.engine.state == "failed")
        for waiting in list(self._requests.values()):
            if waiting.name and not (had_none or self._seats.have_failed):
                self._resolve(waiting, messages.failed(0, error))
        return ended

    def fail_waiting(self, error: ServiceError, until: float) -> None:
        """Refuse the requests for models that came `until` a moment of the event loop's clock."""
        for waiting in list(self._requests.values()):
            if waiting.arrived <= until:
                self._resolve(waiting, messages.failed(0, error))

    def load(self, seat: Seat, name: str) -> None:
        """Load a model from the disk; only where nothing else is being loaded."""
        for waiting in self._waiting(name, on_disk=True):
            waiting.begin()
        seat.models.load(next(self._numbers), name)

    def advance(self) -> None:
        """Answer requests for loaded models, and begin the loads and downloads that can begin."""
        if not self._seats.ready:
            return
        for waiting in list(self._requests.values()):
            holding = self._seats.holding(waiting.name)
            if not waiting.name:
                self._resolve(waiting, None)
            elif holding:
                if not waiting.is_generation:
                    self._begin_loads(waiting)
                # Unless it may have to leave for the one that is being loaded.
                if any(seat.models.loading is None for seat in holding):
                    self._resolve(waiting, None)
            elif not waiting.on_disk and not self._is_loading(waiting.name):
                if self._downloads.begin(waiting.name, self._seats.ready[0]):
                    waiting.begin()
            elif waiting.name not in self._downloads:
                self._begin_loads(waiting)

    def _record_first(self, name: str) -> None:
        """Record what a new engine began with, which may have been unable to begin with the default model."""
        if self.default not in self.loaded:
            self.default = name
        self._initial = self._initial or self.default

    def _answer_unload(self, number: int, failure: messages.Failed | None) -> None:
        if unload := self._unloading.answer(number, failure):
            response = _response_to(unload.request, unload.failure, self.known.get(unload.request.unload))
            self._responses.append((unload.listener, response))

    def _end_load(self, seat: Seat, ended: LoadEnded) -> LoadEnded | None:
        """Answer the clients that wait for a load, then begin the next one; one that failed may succeed elsewhere."""
        others = [other for other in self._seats.ready if other is not seat]
        may_come = any(other.models.is_loading(ended.name) or not other.models.refuses(ended.name) for other in others)
        if ended.failure is not None and (self._seats.holding(ended.name) or may_come):
            seat.models.record_refusal(ended)
            self._copies.begin(ended.name, self._seats)
            self.advance()
            return None
        if ended.failure is not None:
            ended = replace(ended, failure=self._postponement(ended.name) or ended.failure)
        for each in list(self._seats) if ended.failure else [seat]:
            each.models.forget_refusal(ended.name)
        for waiting in self._waiting(ended.name, on_disk=True):
            self._resolve(waiting, messages.failed(0, ended.failure) if ended.failure else None)
        self._copies.begin(ended.name, self._seats)
        self.advance()
        return ended

    def _postponement(self, name: str) -> ServiceError | None:
        """Return the refusal of a seat that will be able to load a model that the others never will."""
        return next(filter(None, (seat.models.postponement(name) for seat in self._seats)), None)

    def _forget_refusals(self) -> None:
        """Let a model be tried again where it could not be loaded, once no other seat is left that may hold it."""
        for seat in self._seats:
            others = [other for other in self._seats if other is not seat and other.is_coming]
            for name in seat.models.refused:
                if all(other.models.refuses(name) for other in others):
                    seat.models.forget_refusal(name)

    def _resolve(self, waiting: LoadRequest, failure: messages.Failed | None) -> None:
        """Answer a request, whose model is loaded unless there is a failure."""
        del self._requests[waiting.request.job]
        if failure is None and waiting.request.default:
            self._make_default(waiting.name)
        info = self.known.get(waiting.name or self.default)
        self._responses.append((waiting.listener, _response_to(waiting.request, failure, info)))

    def _begin_loads(self, waiting: LoadRequest) -> None:
        """Load a model for a client: where it will be generated, on the least busy seat, else on all."""
        able = [seat for seat in self._seats if seat.models.may_load(waiting.name)]
        if waiting.is_generation:
            able = [] if self._is_loading(waiting.name) else sorted(able, key=lambda seat: seat.remaining)[:1]
        for seat in able:
            self.load(seat, waiting.name)

    def _is_loading(self, name: str) -> bool:
        return any(seat.models.is_loading(name) for seat in self._seats)

    def _waiting(self, name: str, *, on_disk: bool) -> list[LoadRequest]:
        """Return the requests for a model, before or after its download."""
        return [waiting for waiting in self._requests.values() if (waiting.name, waiting.on_disk) == (name, on_disk)]

    def _make_default(self, name: str) -> None:
        self.default = name
        for seat in self._seats:
            self._choose_initial(seat)

    def _choose_initial(self, seat: Seat) -> None:
        """Let a seat's next engine begin with the default model, as far as it is known how its device holds it."""
        is_chosen = self.default != self._initial
        seat.engine.initial_models.chosen = seat.models.initial(self.default) if is_chosen else None


def _response_to(
    request: messages.ModelRequest, failure: messages.Failed | None, info: ModelInfo | None
) -> messages.ModelResponse | messages.Failed:
    if failure is not None:
        return messages.failed(request.job, failure.as_error())
    return messages.ModelResponse(job=request.job, info=info)
