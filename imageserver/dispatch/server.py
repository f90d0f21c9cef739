"""Listens for workers and engines, admits them by their key, routes their messages, and ends with the owner."""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable

from imageserver.dispatch.client.runtime_dir import RuntimeDir, process_lives
from imageserver.dispatch.dispatcher import Dispatcher
from imageserver.dispatch.job_queries import JobQueries
from imageserver.dispatch.seats.configuration.card_count import find_cards
from imageserver.dispatch.seats.configuration.configured_seats import configured_seats
from imageserver.dispatch.seats.configuration.group_size import splits_calls
from imageserver.dispatch.seats.engines.engine_process import EngineProcess
from imageserver.dispatch.seats.far.far_engines import FarEngines
from imageserver.dispatch.seats.far.far_seats import FarSeats
from imageserver.dispatch.seats.seat import Seat
from imageserver.dispatch.streams import READ_LIMIT_BYTES, Peer
from imageserver.dispatch.tasks import Tasks
from imageserver.protocol import messages
from imageserver.protocol.channel import Address
from imageserver.protocol.framing import MAX_HELLO_BYTES
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

Connect = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]

HELLO_TIMEOUT_SECONDS = 10.0
OWNER_POLL_SECONDS = 0.5
ADDRESS_POLL_SECONDS = 1.0
# What is still to be sent to the workers must be out before the process ends.
CLOSE_TIMEOUT_SECONDS = 2.0


async def serve(settings: Settings, runtime_dir: RuntimeDir) -> None:
    """Run the dispatcher until its owner is gone or a signal stops it."""
    runtime_dir.remove_stale()
    dispatcher = Dispatcher(settings)
    queries = JobQueries(dispatcher)
    connections: dict[asyncio.Task[None], Peer] = {}

    def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        connection = asyncio.create_task(_accept(dispatcher, queries, peer, listening.address.key))
        connections[connection] = peer
        connection.add_done_callback(connections.pop)
        connection.add_done_callback(lambda _: peer.close())

    listening = ListeningAddress(settings, runtime_dir, connect)
    await listening.open()
    stop = asyncio.Event()
    with contextlib.suppress(NotImplementedError):  # Windows has no signal handlers in its loop
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    beside = Tasks()
    beside.start(_wait_for_end_of(runtime_dir.owner, stop))
    beside.start(listening.keep())
    dispatcher.start()
    dispatcher.quotas.start()
    beside.start(_open_seats(dispatcher, settings, listening.address, runtime_dir))
    await stop.wait()
    await beside.stop()
    listening.close()
    await dispatcher.stop()
    await dispatcher.quotas.stop()
    for peer in connections.values():
        peer.close()
    if connections:
        await asyncio.wait(list(connections), timeout=CLOSE_TIMEOUT_SECONDS)
    runtime_dir.remove()


async def _open_seats(dispatcher: Dispatcher, settings: Settings, address: Address, runtime_dir: RuntimeDir) -> None:
    if settings.cluster:
        clock = asyncio.get_running_loop().time
        far = FarSeats(settings, FarEngines(settings, address, runtime_dir.far_choices_file).open, dispatcher, clock)
        dispatcher.watch(far.watch())
    for number, config in enumerate(await configured_seats(settings, find_cards, splits_calls)):
        engine = EngineProcess(settings, address, config, runtime_dir.model_file(number))
        dispatcher.open_seat(Seat(config.name, engine))


async def _accept(dispatcher: Dispatcher, queries: JobQueries, peer: Peer, key: str) -> None:
    try:
        hello, _ = await asyncio.wait_for(peer.receive(MAX_HELLO_BYTES), HELLO_TIMEOUT_SECONDS)
    except (EOFError, TimeoutError):
        return
    if isinstance(hello, messages.Hello) and hello.role == "engine":
        for seat in dispatcher.seats:
            if seat.engine.is_own(hello.key):
                await seat.engine.attach(peer)
                return
    if not isinstance(hello, messages.Hello) or not secrets.compare_digest(hello.key.encode(), key.encode()):
        logger.warning("A connection without the right key was refused.")
        return
    await _serve_worker(dispatcher, queries, peer)


async def _serve_worker(dispatcher: Dispatcher, queries: JobQueries, peer: Peer) -> None:
    dispatcher.join(peer)
    try:
        async for message, raw in peer:
            match message:
                case messages.Submit():
                    dispatcher.submit(message, peer, raw)
                case messages.CacheHit():
                    dispatcher.record_cache_hit(message, peer)
                case messages.Measured():
                    dispatcher.measurements.add(message.series)
                case messages.MeasurementsRequest():
                    peer.send(messages.Measured(job=message.job, series=dispatcher.measurements.series()))
                case messages.ClientLeft():
                    dispatcher.client_left(message.job)
                case messages.Cancel():
                    queries.unwatch(message.job)
                    dispatcher.cancel(message.job)
                case messages.HistoryRequest():
                    peer.send(messages.History(job=message.job, minutes=dispatcher.history.all()))
                case _:
                    _answer(dispatcher, queries, peer, message)
    finally:
        queries.leave(peer)
        dispatcher.leave(peer)


def _answer(dispatcher: Dispatcher, queries: JobQueries, peer: Peer, question: messages.AnyMessage) -> None:
    match question:
        case messages.UsageRequest():
            peer.send(dispatcher.quotas.count(question))
        case messages.AdmissionRequest():
            dispatcher.request_admission(question, peer)
        case messages.EstimateRequest():
            dispatcher.estimate(question, peer)
        case messages.LoraRequest():
            dispatcher.request_loras(question, peer)
        case messages.ModelRequest():
            dispatcher.request_model(question, peer)
        case messages.ListJobs():
            queries.list_jobs(question, peer)
        case messages.CurrentJobRequest():
            queries.current(question, peer)
        case messages.CancelJob():
            queries.cancel(question, peer)
        case messages.Watch():
            queries.watch(question, peer)


class ListeningAddress:
    """The address that workers and engines connect to, published again wherever it is removed.

    Programs that clean up /tmp remove the socket and the file that names it. A worker that starts later would kill a
    dispatcher that does not answer, and start another, with another engine on the same device.
    """

    def __init__(self, settings: Settings, runtime_dir: RuntimeDir, connect: Connect) -> None:
        self._runtime_dir, self._connect = runtime_dir, connect
        unix = settings.dispatcher_transport == "unix" or (
            settings.dispatcher_transport == "auto" and sys.platform != "win32"
        )
        self._tcp = None if unix else socket.create_server(("127.0.0.1", 0))
        self.address = Address(
            path=str(runtime_dir.socket_path) if unix else None,
            port=self._tcp.getsockname()[1] if self._tcp else None,
            key=secrets.token_hex(32),
        )

    async def open(self) -> None:
        """Listen and publish the address; raises OSError."""
        self._server = await self._listen()
        self._runtime_dir.write(self.address, os.getpid())

    async def keep(self) -> None:
        """Listen and publish again whenever it is necessary."""
        while True:
            await asyncio.sleep(ADDRESS_POLL_SECONDS)
            with contextlib.suppress(OSError):
                # Before the file that names it: a worker may come at once.
                if self.address.path and not os.path.lexists(self.address.path):
                    self._server.close()
                    self._server = await self._listen()
                if not self._runtime_dir.address_file.exists():
                    self._runtime_dir.write(self.address, os.getpid())

    def close(self) -> None:
        self._server.close()

    async def _listen(self) -> asyncio.Server:
        if self._tcp:
            return await asyncio.start_server(self._connect, sock=self._tcp, limit=READ_LIMIT_BYTES)
        path = self._runtime_dir.socket_path
        path.unlink(missing_ok=True)
        return await asyncio.start_unix_server(self._connect, path, limit=READ_LIMIT_BYTES)


async def _wait_for_end_of(owner: int, stop: asyncio.Event) -> None:
    """Set `stop` when the owner is gone; a pidfd notices at once, and also an owner that is a zombie."""
    loop = asyncio.get_running_loop()
    if sys.platform == "linux":
        try:
            descriptor = os.pidfd_open(owner)
        except ProcessLookupError:
            stop.set()
            return
        except OSError:
            descriptor = -1
        if descriptor >= 0:
            loop.add_reader(descriptor, stop.set)
            return
    while process_lives(owner):
        await asyncio.sleep(OWNER_POLL_SECONDS)
    stop.set()
