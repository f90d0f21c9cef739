"""The HTTP worker's link to the dispatcher: submit a generation, wait for it, cancel it, ask about others.

Written with plain threads, sockets and queues; under gevent's patches they are greenlets and cooperate.
"""

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from imageserver.client_limits import NO_LIMITS, ClientLimits
from imageserver.dispatch.client.dispatcher_process import kill
from imageserver.dispatch.client.launch import connect_or_start
from imageserver.dispatch.client.model_names import ModelNames
from imageserver.dispatch.client.path_filter import PathFilter
from imageserver.dispatch.client.runtime_dir import RuntimeDir
from imageserver.dispatch.client.ticket import PreviewImage, Ticket
from imageserver.dispatch.client.watch_ticket import WatchTicket
from imageserver.dispatch.client.watchdog import DispatcherWatchdog
from imageserver.errors import Cancelled, EngineUnavailable, ServiceError
from imageserver.generation import Generation, ModelInfo
from imageserver.protocol import messages
from imageserver.protocol.channel import Channel
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T", bound=Ticket)

LINK_TIMEOUT_SECONDS = 20.0
# Longer than the dispatcher waits for the engine.
LORA_TIMEOUT_SECONDS = 120.0
# A scrape of the metrics ends soon, without them if need be.
MEASURED_TIMEOUT_SECONDS = 2.0
FAULT_PAUSE_SECONDS = 1.0
SILENT_SENTENCE = "The dispatcher gives no sign of life; it is replaced if that lasts."


class DispatchClient:
    """A worker's link to the dispatcher, kept alive by a background thread."""

    def __init__(
        self, settings: Settings, runtime_dir: RuntimeDir, on_ready: Callable[[ModelInfo], None] | None = None
    ) -> None:
        self._settings = settings
        self._on_ready = on_ready
        self._runtime_dir = runtime_dir
        self._channel: Channel | None = None
        self._linked = threading.Event()
        self._tickets: dict[int, Ticket] = {}
        self._closed = False
        # Not those of requests, which are the same for all workers and use up a number on the disk.
        self._own_numbers = itertools.count(-1, -1)
        self._pid = 0
        self._watchdog = DispatcherWatchdog(self._dispatcher_silent, self._dispatcher_dead)
        self._snapshot: messages.Snapshot | None = None
        self._paths = PathFilter(settings)

    @property
    def names(self) -> ModelNames:
        """What clients call the models."""
        return self._paths.names

    @property
    def snapshot(self) -> messages.Snapshot | None:
        """The dispatcher's last snapshot, `degraded` while it sends no further ones; None without a dispatcher."""
        if self._snapshot is None or not self._watchdog.is_silent:
            return self._snapshot
        return msgspec.structs.replace(self._snapshot, state="degraded", reason=SILENT_SENTENCE)

    def start(self) -> None:
        """Connect in the background, starting the dispatcher where none runs."""
        self._watchdog.start()
        threading.Thread(target=self._keep_linked, name="dispatcher-link", daemon=True).start()

    def close(self) -> None:
        """Disconnect; the dispatcher cancels this worker's requests."""
        self._closed = True
        self._watchdog.stop()
        if self._channel is not None:
            self._channel.close()

    def submit(self, request: messages.Submit, source: bytes = b"") -> Ticket:
        """Hand a generation and its source's pixels over; raises EngineUnavailable when no dispatcher answers."""
        return self._send(request, request.timeout, source)

    def estimate(self, job: int, generation: Generation, credential: str) -> messages.Estimate:
        """Return when a generation would finish, and how many of its tokens the engine would read.

        Raises EngineUnavailable when no dispatcher answers.
        """
        query = messages.EstimateRequest(job=job, generation=generation, credential=credential)
        return self._send(query, LINK_TIMEOUT_SECONDS).response(messages.Estimate)[0]

    def request_admission(self, job: int, credential: str, account: str = "", limits: ClientLimits = NO_LIMITS) -> None:
        """Raise the refusal that a generation would get now; EngineUnavailable when no dispatcher answers."""
        query = messages.AdmissionRequest(job=job, credential=credential, account=account, limits=limits)
        self._send(query, LINK_TIMEOUT_SECONDS).response(messages.Admitted)

    def usage(self, query: messages.UsageRequest) -> messages.Usage:
        """Count requests for an account, and return what it has used; raises EngineUnavailable."""
        return self._send(query, LINK_TIMEOUT_SECONDS).response(messages.Usage)[0]

    def history(self, query: messages.HistoryRequest) -> tuple[messages.Minute, ...]:
        """Return the last hour, minute by minute; raises EngineUnavailable when no dispatcher answers."""
        return self._send(query, LINK_TIMEOUT_SECONDS).response(messages.History)[0].minutes

    def record_cache_hit(self, hit: messages.CacheHit) -> None:
        """Report a request that was answered from the cache; without a dispatcher the report is lost."""
        self._notify(hit)

    def report(self, series: tuple[messages.Series, ...]) -> bool:
        """Hand over what this worker measured; return False without a dispatcher."""
        if not self._linked.is_set() or self._channel is None:
            return False
        try:
            self._channel.send(messages.Measured(job=0, series=series))
        except OSError:
            return False
        return True

    def measured(self) -> tuple[messages.Series, ...]:
        """Return what all workers and the dispatcher measured; raises EngineUnavailable when it does not answer."""
        query = messages.MeasurementsRequest(job=next(self._own_numbers))
        return self._send(query, MEASURED_TIMEOUT_SECONDS).response(messages.Measured)[0].series

    def jobs(self, query: messages.ListJobs | messages.CancelJob) -> tuple[messages.JobStatus, ...]:
        """Return what the dispatcher knows about requests; raises EngineUnavailable when it does not answer."""
        return self._send(query, LINK_TIMEOUT_SECONDS).response(messages.JobList)[0].jobs

    def current(self, query: messages.CurrentJobRequest) -> tuple[messages.JobStatus | None, PreviewImage | None]:
        """Return the request that a client waits for, and its last preview.

        Raises EngineUnavailable when the dispatcher does not answer.
        """
        answer, pixels = self._send(query, LINK_TIMEOUT_SECONDS).response(messages.CurrentJob)
        return answer.status, PreviewImage(answer.preview, pixels) if answer.preview else None

    def loras(self, query: messages.LoraRequest) -> tuple[str, ...]:
        """Load or unload a LoRA and return the names of those that are loaded; raises the engine's refusal."""
        return self._send(query, LORA_TIMEOUT_SECONDS).response(messages.LorasLoaded)[0].names

    def load_model(self, query: messages.ModelRequest, timeout: float) -> Ticket:
        """Ask for a model to be loaded; `Ticket.model` waits for it."""
        return self._send(query, timeout)

    def unload_model(self, query: messages.ModelRequest) -> None:
        """Free a model's memory; raises the engine's refusal."""
        self._send(query, LORA_TIMEOUT_SECONDS).response(messages.ModelResponse)

    def watch(self, query: messages.Watch) -> WatchTicket:
        return self._hand_over(WatchTicket(query.job, LINK_TIMEOUT_SECONDS, self.cancel), query)

    def _send(self, request: messages.NumberedMessage, timeout: float, raw: bytes = b"") -> Ticket:
        return self._hand_over(Ticket(request.job, timeout, self.cancel), request, raw)

    def _hand_over(self, ticket: T, request: messages.NumberedMessage, raw: bytes = b"") -> T:
        if not self._linked.wait(min(ticket.timeout, LINK_TIMEOUT_SECONDS)):
            raise EngineUnavailable("The dispatcher does not answer; it is being restarted.", retry_after=2)
        self._tickets[request.job] = ticket
        try:
            assert self._channel is not None
            self._channel.send(self._paths.sent(request), raw)
        except OSError:
            self._tickets.pop(request.job, None)
            raise EngineUnavailable("The dispatcher died; it is being restarted.", retry_after=2) from None
        return ticket

    def fail_all(self, error: ServiceError) -> None:
        """End every open ticket of this worker with `error`."""
        for job in list(self._tickets):
            self._withdraw(job, error)

    def cancel(self, job: int) -> None:
        """Stop the request with this number; whoever waits for it gets Cancelled."""
        self._withdraw(job, Cancelled("The generation was cancelled."))

    def client_left(self, job: int) -> None:
        """Let the dispatcher know that a client has left, and may come back for its job."""
        self._notify(messages.ClientLeft(job=job))

    def _notify(self, message: messages.NumberedMessage) -> None:
        """Send a message that gets no answer; without a dispatcher it is lost."""
        with contextlib.suppress(OSError):
            if self._channel is not None:
                self._channel.send(self._paths.sent(message))

    def _withdraw(self, job: int, error: ServiceError) -> None:
        """Let the dispatcher know, then end the ticket: whoever waits for it may end the caller's greenlet."""
        ticket = self._tickets.pop(job, None)
        self._notify(messages.Cancel(job=job))
        if ticket is not None:
            ticket.receive(error)

    def _keep_linked(self) -> None:
        while not self._closed:
            try:
                self._channel, self._pid = connect_or_start(self._runtime_dir, self._settings)
            except OSError as error:
                logger.error("The dispatcher cannot be reached: %s", error)
                time.sleep(1.0)
                continue
            self._watchdog.connected()
            pause = 0.0
            try:
                self._receive_all(self._channel)
            except Exception:
                # Without this thread the worker would refuse all requests for ever, and end one dispatcher.
                logger.exception("The link to the dispatcher failed over a message; it is opened again.")
                pause = FAULT_PAUSE_SECONDS
            self._watchdog.disconnected()
            self._channel.close()
            self._linked.clear()
            self._snapshot = None
            if not self._closed:
                logger.warning("The dispatcher is gone; it is being restarted.")
            self.fail_all(EngineUnavailable("The dispatcher died with this generation.", retry_after=2))
            # Only now: requests of the pause wait for the next link, and are not failed with this one.
            time.sleep(pause)

    def _receive_all(self, channel: Channel) -> None:
        for message, raw in channel:
            self._watchdog.record_sign()
            self._receive(message, raw)
            # Not before the first message: a dispatcher that is being killed may still accept a connection.
            self._linked.set()

    def _dispatcher_silent(self) -> None:
        """Hand nothing over to it, until it sends again or another one has been started."""
        self._linked.clear()
        logger.warning("%s", SILENT_SENTENCE)

    def _dispatcher_dead(self) -> None:
        """Kill it and end the connection, upon which another one is started."""
        if kill(self._pid, self._runtime_dir.owner):
            logger.error("The dispatcher has given no sign of life for too long; it is killed.")
        if self._channel is not None:
            self._channel.close()

    def _receive(self, received: messages.AnyMessage, raw: bytes) -> None:
        message = self._paths.received(received)
        if isinstance(received, messages.Failed) and received != message:
            logger.info("Job %d, with the paths that its client does not see: %s", received.job, received.sentence)
        if isinstance(received, messages.Snapshot) and isinstance(message, messages.Snapshot):
            self._snapshot = message
            if received.info is not None and self._on_ready is not None:
                self._on_ready(received.info)  # it tells the owner
                self._on_ready = None
        elif isinstance(message, messages.NumberedMessage):
            match message:
                case messages.Queued() | messages.Started() | messages.Progress() | messages.Preview():
                    ticket = self._tickets.get(message.job)
                case messages.JobEvent() if message.status.completed_at is None:
                    ticket = self._tickets.get(message.job)
                case _:
                    ticket = self._tickets.pop(message.job, None)
            if ticket is not None:
                ticket.receive(message, raw)
