"""The side of the dispatcher that lives in an HTTP worker: submit a generation, wait for it, cancel it.

Written with plain threads, sockets and queues; under gevent's patches they are greenlets and cooperate.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from imageserver.dispatch.client.launch import connect_or_start
from imageserver.dispatch.client.runtime_dir import RuntimeDir
from imageserver.errors import Cancelled, DeadlineExceeded, EngineUnavailable, ServiceError
from imageserver.generation import Generation, ModelInfo, Outcome
from imageserver.protocol.channel import Channel
from imageserver.protocol.messages import (
    CacheHit,
    Cancel,
    CancelJob,
    ClientLeft,
    CurrentJob,
    CurrentJobRequest,
    Estimate,
    EstimateRequest,
    Failed,
    Finished,
    JobEvent,
    JobList,
    JobStatus,
    ListJobs,
    LoraRequest,
    LorasLoaded,
    ModelRequest,
    ModelResponse,
    Preview,
    Progress,
    Queued,
    Snapshot,
    Started,
    Submit,
    Watch,
)
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

A = TypeVar("A", Estimate, JobList, CurrentJob, LorasLoaded, ModelResponse)

LINK_TIMEOUT = 20.0
# A large file may lie on a slow disk, and the engine answers between two forwards.
LORA_TIMEOUT = 120.0
# The dispatcher ends a job at its deadline; only one that hangs itself needs this.
GRACE_AFTER_DEADLINE = 10.0


# What a ticket is told; questions are answered by one message, or by events.
Answers = Estimate | JobList | CurrentJob | LorasLoaded | ModelResponse
News = Answers | Queued | Started | Progress | Preview | JobEvent | Finished | Failed | ServiceError
Question = EstimateRequest | ListJobs | CurrentJobRequest | LoraRequest | ModelRequest | CancelJob | Watch


@dataclass(frozen=True)
class PreviewImage:
    """An image in the making: what the engine tells of it, and its small RGB pixels."""

    preview: Preview
    pixels: bytes


@dataclass(frozen=True)
class Image:
    """The answer of a ticket: how it went, and the pixels that its outcome describes."""

    outcome: Outcome
    pixels: bytes
    joined: bool = False


class Ticket:
    """One submitted generation."""

    def __init__(self, job: int, timeout: float, cancel: Callable[[int], None]) -> None:
        self.job = job
        self._timeout = timeout
        self._cancel = cancel
        self._news: queue.SimpleQueue[tuple[News, bytes]] = queue.SimpleQueue()

    def tell(self, message: News, raw: bytes = b"") -> None:
        """Pass news to whoever waits."""
        self._news.put((message, raw))

    def updates(self, pause: float) -> Iterator[Queued | Started | Progress | PreviewImage | Image | None]:
        """Yield what happens, the image last; None after every `pause` seconds without news.

        Raises the ServiceError that ended the generation otherwise.
        """
        give_up = time.monotonic() + self._timeout + GRACE_AFTER_DEADLINE
        while True:
            left = give_up - time.monotonic()
            try:
                message, raw = self._news.get(timeout=max(0.0, min(pause, left)))
            except queue.Empty:
                if left <= pause:
                    self.cancel()
                    raise DeadlineExceeded(f"The time limit of {self._timeout:g} s passed.") from None
                yield None
                continue
            match message:
                case Finished():
                    yield Image(message.outcome, raw, message.joined)
                    return
                case Preview():
                    yield PreviewImage(message, raw)
                case Queued() | Started() | Progress():
                    yield message
                case _:
                    raise _as_error(message)

    def response(self, kind: type[A]) -> tuple[A, bytes]:
        """Wait for the one message that answers a question, and its raw bytes."""
        try:
            message, raw = self._news.get(timeout=self._timeout)
        except queue.Empty:
            self.cancel()
            raise EngineUnavailable("The dispatcher does not answer.", retry_after=2) from None
        if isinstance(message, kind):
            return message, raw
        raise _as_error(message)

    def model(self) -> ModelInfo | None:
        """Wait until the model that was asked for is loaded; raises what prevented it."""
        give_up = time.monotonic() + self._timeout
        while True:
            try:
                message, _ = self._news.get(timeout=max(0.0, give_up - time.monotonic()))
            except queue.Empty:
                self.cancel()
                sentence = f"The time limit of {self._timeout:g} s passed while it waited for the model."
                raise DeadlineExceeded(sentence) from None
            match message:
                case ModelResponse():
                    return message.info
                case Started() | Progress():
                    continue
                case _:
                    raise _as_error(message)

    def events(self, pause: float) -> Iterator[JobEvent | None]:
        """Yield a watched request's events until it has ended, None after every `pause` seconds without any."""
        while True:
            try:
                message, _ = self._news.get(timeout=pause)
            except queue.Empty:
                yield None
                continue
            match message:
                case JobEvent():
                    yield message
                    if message.status.completed_at is not None:
                        return
                case JobList():
                    return  # there is no such request
                case _:
                    raise _as_error(message)

    def cancel(self) -> None:
        """Stop the generation or the watch; whoever waits for its news gets Cancelled."""
        self._cancel(self.job)


class DispatchClient:
    """A worker's link to the dispatcher, kept alive by a background thread."""

    def __init__(
        self, settings: Settings, runtime_dir: RuntimeDir, on_ready: Callable[[ModelInfo], None] | None = None
    ) -> None:
        self._settings = settings
        self._on_ready = on_ready
        self._rendezvous = runtime_dir
        self._channel: Channel | None = None
        self._linked = threading.Event()
        self._tickets: dict[int, Ticket] = {}
        self._closed = False
        self.snapshot: Snapshot | None = None

    def start(self) -> None:
        """Connect in the background, starting the dispatcher where none runs."""
        threading.Thread(target=self._keep_linked, name="dispatcher-link", daemon=True).start()

    def close(self) -> None:
        """Hang up; the dispatcher cancels what this worker waited for."""
        self._closed = True
        if self._channel is not None:
            self._channel.close()

    def submit(self, request: Submit, source: bytes = b"") -> Ticket:
        """Hand a generation and its source's pixels over; raises EngineUnavailable when no dispatcher answers."""
        return self._send(request, request.timeout, source)

    def estimate(self, job: int, generation: Generation, credential: str) -> Estimate:
        """Return when a generation would be done, and what the engine would read of it.

        Raises EngineUnavailable when no dispatcher answers.
        """
        question = EstimateRequest(job=job, generation=generation, credential=credential)
        return self._send(question, LINK_TIMEOUT).response(Estimate)[0]

    def record_cache_hit(self, hit: CacheHit) -> None:
        """Let the dispatcher know of a request that was answered from the cache; without one it is lost."""
        with contextlib.suppress(OSError):
            if self._channel is not None:
                self._channel.send(hit)

    def jobs(self, question: ListJobs | CancelJob) -> tuple[JobStatus, ...]:
        """Return what the dispatcher knows of requests; raises EngineUnavailable when it does not answer."""
        return self._send(question, LINK_TIMEOUT).response(JobList)[0].jobs

    def current(self, question: CurrentJobRequest) -> tuple[JobStatus | None, PreviewImage | None]:
        """Return the request that a client is busy with, and its image in the making.

        Raises EngineUnavailable when the dispatcher does not answer.
        """
        answer, pixels = self._send(question, LINK_TIMEOUT).response(CurrentJob)
        return answer.status, PreviewImage(answer.preview, pixels) if answer.preview else None

    def loras(self, question: LoraRequest) -> tuple[str, ...]:
        """Return the names of the LoRAs that are loaded then; raises what the engine refused it for."""
        return self._send(question, LORA_TIMEOUT).response(LorasLoaded)[0].names

    def load_model(self, question: ModelRequest, timeout: float) -> Ticket:
        """Ask for a model to be loaded; `Ticket.model` waits for it."""
        return self._send(question, timeout)

    def unload_model(self, question: ModelRequest) -> None:
        """Free a model's memory; raises what it was refused for."""
        self._send(question, LORA_TIMEOUT).response(ModelResponse)

    def watch(self, question: Watch) -> Ticket:
        """Return a ticket that tells the events of a request."""
        return self._send(question, LINK_TIMEOUT)

    def _send(self, request: Submit | Question, timeout: float, raw: bytes = b"") -> Ticket:
        ticket = Ticket(request.job, timeout, self.cancel)
        if not self._linked.wait(min(timeout, LINK_TIMEOUT)):
            raise EngineUnavailable("The dispatcher does not answer; it is being restarted.", retry_after=2)
        self._tickets[request.job] = ticket
        try:
            assert self._channel is not None
            self._channel.send(request, raw)
        except OSError:
            self._tickets.pop(request.job, None)
            raise EngineUnavailable("The dispatcher died; it is being restarted.", retry_after=2) from None
        return ticket

    def fail_all(self, error: ServiceError) -> None:
        """End every open ticket of this worker with `error`."""
        for job in list(self._tickets):
            self._withdraw(job, error)

    def cancel(self, job: int) -> None:
        """Stop what was asked for under a number; whoever waits for it gets Cancelled."""
        self._withdraw(job, Cancelled("The generation was cancelled."))

    def client_left(self, job: int) -> None:
        """Let the dispatcher know that a client has left, and may come back for its job."""
        with contextlib.suppress(OSError):
            if self._channel is not None:
                self._channel.send(ClientLeft(job=job))

    def _withdraw(self, job: int, error: ServiceError) -> None:
        """Let the dispatcher know, then end the ticket: whoever waits for it may end the caller's greenlet."""
        ticket = self._tickets.pop(job, None)
        with contextlib.suppress(OSError):
            if self._channel is not None:
                self._channel.send(Cancel(job=job))
        if ticket is not None:
            ticket.tell(error)

    def _keep_linked(self) -> None:
        while not self._closed:
            try:
                self._channel = connect_or_start(self._rendezvous, self._settings)
            except OSError as error:
                logger.error("The dispatcher cannot be reached: %s", error)
                time.sleep(1.0)
                continue
            for message, raw in self._channel:
                self._receive(message, raw)
                # Not before the first message: a dispatcher that is being killed may still accept a connection.
                self._linked.set()
            self._channel.close()
            self._linked.clear()
            self.snapshot = None
            if not self._closed:
                logger.warning("The dispatcher is gone; it is being restarted.")
            self.fail_all(EngineUnavailable("The dispatcher died with this generation.", retry_after=2))

    def _receive(self, message: object, raw: bytes) -> None:
        match message:
            case Snapshot():
                self.snapshot = message
                if message.info is not None and self._on_ready is not None:
                    self._on_ready(message.info)
                    self._on_ready = None
            case Finished() | Failed() | Estimate() | JobList() | CurrentJob() | LorasLoaded() | ModelResponse():
                ticket = self._tickets.pop(message.job, None)
                if ticket is not None:
                    ticket.tell(message, raw)
            case JobEvent() if message.status.completed_at is not None:
                ticket = self._tickets.pop(message.job, None)
                if ticket is not None:
                    ticket.tell(message)
            case Queued() | Started() | Progress() | Preview() | JobEvent():
                ticket = self._tickets.get(message.job)
                if ticket is not None:
                    ticket.tell(message, raw)


def _as_error(message: News) -> ServiceError:
    match message:
        case Failed():
            return message.as_error()
        case ServiceError():
            return message
    return EngineUnavailable(f"The dispatcher answered {type(message).__name__}.", retry_after=2)
