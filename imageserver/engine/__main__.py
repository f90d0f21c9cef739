"""The engine process: `python -m imageserver.engine`, with its configuration on standard input.

It never outlives the dispatcher: it ends when the connection closes, and on Linux when its parent dies.
"""

import ctypes
import logging
import os
import queue
import signal
import sys
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from imageserver.protocol import messages
from imageserver.protocol.channel import Address, Channel
from imageserver.protocol.engine_config import EngineConfig, read_engine_config
from imageserver.telemetry.logs import configure_logging

if TYPE_CHECKING:
    from imageserver.engine.batching.step_scheduler import Trace
    from imageserver.engine.models.load_queue import LoadQueue
    from imageserver.engine.models.lora_queue import LoraQueue
    from imageserver.engine.models.model_pool import ModelPool
    from imageserver.settings import Settings

logger = logging.getLogger("imageserver.engine")

PR_SET_PDEATHSIG = 1
USAGE_INTERVAL_SECONDS = 1.0
ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")


class Link:
    """The engine's connection: one thread reads, one writes, so that no image waits for a socket."""

    def __init__(self, address: Address) -> None:
        self._channel = Channel(address.connect())
        self._outbox: queue.SimpleQueue[tuple[messages.Message, bytes]] = queue.SimpleQueue()
        self.inbox: queue.SimpleQueue[tuple[object, bytes]] = queue.SimpleQueue()
        self._channel.send(messages.Hello(role="engine", key=address.key, pid=os.getpid()))
        for work in (self._read, self._write):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()

    def send(self, message: messages.Message, raw: bytes = b"") -> None:
        """Send soon; never blocks."""
        self._outbox.put((message, raw))

    def report(self, phase: str, sentence: str, fraction: float | None, job: int = 0) -> None:
        """Report the progress of a model."""
        logger.info("%s", sentence)
        self.send(messages.LoadProgress(job=job, phase=phase, sentence=sentence, fraction=fraction))

    def _read(self) -> None:
        for frame in self._channel:
            self.inbox.put(frame)
        os._exit(0)  # no client is left, and the main thread may be deep inside a forward

    def _write(self) -> None:
        try:
            while True:
                self._channel.send(*self._outbox.get())
        except OSError:
            os._exit(0)


def main(trace: "Trace | None" = None) -> None:
    """Load the model, then generate until the connection closes; `trace` is called with every forward."""
    _die_with_parent()
    _prepare_environment()
    config = read_engine_config()
    configure_logging(config.settings)
    link = Link(config.address)
    link.report("importing", "torch and diffusers are being imported.", None)
    try:
        _serve(config, link, trace)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        _fail(link, "PyTorch is not installed; pip install 'qwen-image-server[engine]' brings it and the rest.")


def _serve(config: EngineConfig, link: Link, trace: "Trace | None") -> None:
    # Imported here, after the first message to the dispatcher: torch and diffusers take seconds.
    from imageserver.engine.batching.step_scheduler import no_trace
    from imageserver.engine.device_errors import ending_if_lost
    from imageserver.engine.devices.devices import DeviceUnavailable
    from imageserver.engine.downloads import ModelUnavailable
    from imageserver.engine.models.initial_model import open_model_pool

    # Each job's own errors end there; what comes up to here would leave an engine that fails all later jobs.
    with ending_if_lost():
        try:
            pool = open_model_pool(
                config.settings, link.report, link.send, trace or no_trace,
                default_model=config.default_model, configured_model=config.configured_model,
            )  # fmt: skip
        except (ModelUnavailable, DeviceUnavailable) as error:
            _fail(link, str(error))
            return
        [info] = pool.loaded
        link.send(messages.Ready(info=info))
        _generate(pool, link, config.settings)


def _generate(pool: "ModelPool", link: Link, settings: "Settings") -> None:
    """Step the jobs, and act on messages between two steps, for ever."""
    from imageserver.engine.models.load_queue import LoadQueue
    from imageserver.engine.models.lora_queue import LoraQueue

    loads = LoadQueue(pool, link.send, link.report, lambda search: link.inbox.put((search, b"")))
    loras = LoraQueue(pool, link.send, lambda read: link.inbox.put((read, b"")), settings)
    scheduler, last_usage = pool.step_scheduler, 0.0
    while True:
        loads.load_waiting()
        while not scheduler.busy or not link.inbox.empty():
            request, raw = link.inbox.get()
            _receive(request, raw, pool, loads, loras, link)
        scheduler.step()
        if time.monotonic() - last_usage > USAGE_INTERVAL_SECONDS or not scheduler.busy:
            last_usage = time.monotonic()
            link.send(pool.usage())


def _fail(link: Link, sentence: str) -> None:
    """Report to the dispatcher why there is no model, and wait until it closes the connection."""
    link.send(messages.LoadFailed(sentence=sentence))
    link.inbox.get()


def _receive(
    request: object, raw: bytes, pool: "ModelPool", loads: "LoadQueue", loras: "LoraQueue", link: Link
) -> None:
    """Act on a message of the dispatcher, or continue with files that a thread has found or read."""
    match request:
        case messages.Run():
            loras.add(request, raw)
        case messages.Cancel():
            loras.cancel(request.job)
            pool.step_scheduler.cancel(request.job)
        case messages.LoraRequest():
            loras.change(request)
        case messages.TokenCountRequest():
            usage = pool.token_usage(request.generation)
            link.send(messages.TokenCounts(job=request.job, **(asdict(usage) if usage else {})))
        case messages.Ping():
            link.send(messages.Pong())
        case messages.FetchModel():
            loads.fetch(request)
        case messages.LoadModel():
            loads.load(request)
        case messages.UnloadModel():
            loads.unload(request)
        case _:
            loads.receive(request)
            loras.receive(request)


def _prepare_environment() -> None:
    """Set the variables that torch and the hub libraries read on import; the user's own values win."""
    # Threads that spin at every barrier starve each other when another process wants a core: one 512 x 512 image
    # took 10 s instead of 0.8 s beside a busy neighbour on two cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # Images and batches of many sizes leave holes in CUDA's memory: out of memory with gigabytes free. PyTorch before
    # 2.9 reads only the second name, later ones only the first where both are set.
    if not any(name in os.environ for name in ALLOCATOR_VARIABLES) and sys.platform != "win32":
        os.environ.update(dict.fromkeys(ALLOCATOR_VARIABLES, "expandable_segments:True"))


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
