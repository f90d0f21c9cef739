"""Listens for workers and engines, admits them by their key, routes their messages, and ends with the owner."""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sys

from imageserver.dispatch.client.runtime_dir import RuntimeDir, process_lives
from imageserver.dispatch.dispatcher import Dispatcher
from imageserver.dispatch.job_queries import JobQueries
from imageserver.dispatch.seats.configuration.card_count import find_cards
from imageserver.dispatch.seats.configuration.configured_seats import configured_seats
from imageserver.dispatch.seats.engines.engine_process import EngineProcess
from imageserver.dispatch.seats.far_seats import FarSeats
from imageserver.dispatch.seats.seat import Seat
from imageserver.dispatch.streams import READ_LIMIT_BYTES, Peer
from imageserver.dispatch.tasks import Tasks
from imageserver.protocol import messages
from imageserver.protocol.channel import Address
from imageserver.protocol.framing import MAX_HELLO_BYTES
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

HELLO_TIMEOUT_SECONDS = 10.0
OWNER_POLL_SECONDS = 0.5
# What is still to be sent to the workers must be out before the process ends.
CLOSE_TIMEOUT_SECONDS = 2.0


async def serve(settings: Settings, runtime_dir: RuntimeDir) -> None:
    """Run the dispatcher until its owner is gone or a signal stops it."""
    runtime_dir.remove_stale()
    listener, address = _listen(settings, runtime_dir, secrets.token_hex(32))
    dispatcher = Dispatcher(settings)
    queries = JobQueries(dispatcher)
    connections: dict[asyncio.Task[None], Peer] = {}

    def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        connection = asyncio.create_task(_accept(dispatcher, queries, peer, address.key))
        connections[connection] = peer
        connection.add_done_callback(connections.pop)
        connection.add_done_callback(lambda _: peer.close())

    starter = asyncio.start_unix_server if address.path else asyncio.start_server
    server = await starter(connect, sock=listener, limit=READ_LIMIT_BYTES)
    runtime_dir.write(address, os.getpid())
    stop = asyncio.Event()
    with contextlib.suppress(NotImplementedError):  # Windows has no signal handlers in its loop
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    beside = Tasks()
    beside.start(_wait_for_end_of(runtime_dir.owner, stop))
    dispatcher.start()
    dispatcher.quotas.start()
    beside.start(_open_seats(dispatcher, settings, address, runtime_dir))
    await stop.wait()
    await beside.stop()
    server.close()
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
        far = FarSeats(settings, lambda config: EngineProcess(settings, address, config), dispatcher, clock)
        dispatcher.watch(far.watch())
    for number, config in enumerate(await configured_seats(settings, find_cards)):
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


def _listen(settings: Settings, runtime_dir: RuntimeDir, key: str) -> tuple[socket.socket, Address]:
    unix = settings.dispatcher_transport == "unix" or (
        settings.dispatcher_transport == "auto" and sys.platform != "win32"
    )
    if unix:
        path = runtime_dir.socket_path
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        return listener, Address(path=str(path), port=None, key=key)
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, Address(path=None, port=listener.getsockname()[1], key=key)


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
