"""The engine process: `python -m imageserver.engine`, with its configuration on standard input.

It never outlives the dispatcher: it ends when the connection closes, and on Linux when its parent dies.
"""

import logging
import os
import queue
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from imageserver.engine.torch_process import die_with_parent, prepare_environment
from imageserver.protocol import messages
from imageserver.protocol.channel import Address, Channel
from imageserver.protocol.engine_config import EngineConfig, read_engine_config
from imageserver.settings import Settings
from imageserver.telemetry.logs import configure_logging

if TYPE_CHECKING:
    from imageserver.engine.batching.step_scheduler import Trace
    from imageserver.engine.card_group.card_group import CardGroup
    from imageserver.engine.models.load_queue import LoadQueue
    from imageserver.engine.models.lora_queue import LoraQueue
    from imageserver.engine.models.model_pool import ModelPool

logger = logging.getLogger("imageserver.engine")

USAGE_INTERVAL_SECONDS = 1.0


class Link:
    """The engine's connection: one thread reads, one writes, so that no image waits for a socket."""

    def __init__(self, address: Address) -> None:
        self._outbox: queue.SimpleQueue[tuple[messages.Message, bytes]] = queue.SimpleQueue()
        self.inbox: queue.SimpleQueue[tuple[object, bytes]] = queue.SimpleQueue()
        try:
            self._channel = Channel(address.connect())
            self._channel.send(messages.Hello(role="engine", key=address.key, pid=os.getpid()))
        except OSError:
            # It was killed while this process started; its successor starts an engine of its own.
            raise SystemExit("The dispatcher is gone; the engine ends.") from None
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
    die_with_parent()
    prepare_environment()
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
            settings, group = _open_group(config.settings, link)
            pool = open_model_pool(
                settings, link.report, link.send, trace or no_trace,
                default_model=config.default_model, configured_model=config.configured_model,
                group=group,
            )  # fmt: skip
        except (ModelUnavailable, DeviceUnavailable) as error:
            _fail(link, str(error))
            return
        [info] = pool.loaded
        link.send(messages.Ready(info=info))
        _generate(pool, link, config.settings)


def _open_group(settings: Settings, link: Link) -> tuple[Settings, "CardGroup | None"]:
    """Return the settings of rank 0's own device, and the group where DEVICE names several, joined by +."""
    from imageserver.engine.card_group.card_group import CardGroup
    from imageserver.engine.card_group.card_names import cards_of

    cards = cards_of(settings.device)
    if len(cards) == 1:
        return settings, None
    own = settings.model_copy(update={"device": cards[0]})
    return own, CardGroup(cards, settings, lambda ready: link.inbox.put((ready, b"")))


def _generate(pool: "ModelPool", link: Link, settings: Settings) -> None:
    """Step the jobs, and act on messages between two steps, for ever."""
    from imageserver.engine.models.load_queue import LoadQueue
    from imageserver.engine.models.lora_queue import LoraQueue

    loads = LoadQueue(pool, link.send, link.report, lambda search: link.inbox.put((search, b"")))
    loras = LoraQueue(pool, link.send, lambda read: link.inbox.put((read, b"")), settings)
    scheduler, last_usage = pool.step_scheduler, 0.0
    while True:
        loads.load_waiting()
        while not (scheduler.busy or loras.has_to_place) or not link.inbox.empty():
            if pool.group is not None and not scheduler.busy:
                pool.group.tend()
                link.send(pool.usage())
            request, raw = link.inbox.get()
            _receive(request, raw, pool, loads, loras, link)
        loras.place()
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
            if pool.group is not None:
                pool.group.receive(request)


if __name__ == "__main__":
    main()
