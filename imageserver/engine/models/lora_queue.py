"""Read LoRA files while others generate: threads fetch and read them, the model takes them between two forwards.

A thread reads its next file when the model has the one before, whose memory is reserved until then. So what waits for
the model is bounded, and nothing is dropped that a job still needs.
"""

import contextlib
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from imageserver.engine.batching.step_scheduler import Send
from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.downloads.lora_download import fetch_lora
from imageserver.engine.downloads.missing_loras import MissingLoras
from imageserver.engine.models.model_pool import ModelPool
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.engine.runner.lora_memory import LoraMemory
from imageserver.errors import Cancelled, InvalidParameter, ServiceError
from imageserver.generation import Lora
from imageserver.protocol.messages import Failed, LoraRequest, LorasLoaded, Run, failed
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

# Everybody's images pause meanwhile, with COMPILE=1 for many seconds each.
MAX_PLACED = 2


@dataclass
class AwaitedFiles:
    """A job or a load that waits for its files, and the seconds in which the model has loaded some of them."""

    request: Run | LoraRequest
    lora_time: float = 0.0


@dataclass(frozen=True)
class LorasRead:
    """A job or a load whose LoRA files have been read, the pixels of the job's source, and why it cannot go on."""

    request: Run | LoraRequest
    source: bytes = b""
    failure: Failed | None = None


@dataclass(frozen=True)
class LoraRead:
    """One LoRA that the model of `adapters` has to load; the thread that has read it waits until it is `taken`.

    It keeps no model in memory that is unloaded meanwhile.
    """

    request: LoraRequest
    adapters: weakref.ref[LoraAdapters]
    taken: threading.Event


class LoraQueue:
    """Jobs and loads that name LoRAs which are not loaded; each waits for its own files alone."""

    def __init__(
        self, pool: ModelPool, send: Send, wake: Callable[[LoraRead | LorasRead], None], settings: Settings
    ) -> None:
        """`wake` passes what has been read to the engine's main thread, which calls `receive`."""
        self._pool = pool
        self._settings = settings
        self._send = send
        self._wake = wake
        self._waiting: dict[int, AwaitedFiles] = {}
        self._to_place: deque[LoraRead] = deque()
        self._absent = MissingLoras(settings)
        self._memory = LoraMemory()

    def add(self, request: Run, source: bytes) -> None:
        """Add a job once its LoRAs have been read, at once where it needs none."""
        self._read(request.generation.model, request.generation.loras, LorasRead(request, source))

    def change(self, request: LoraRequest) -> None:
        """Load a LoRA once it has been read, unload one, or fetch one from a hub."""
        if request.fetch is not None:
            threading.Thread(target=self._fetch, args=(request, request.fetch), name="fetch-lora", daemon=True).start()
            return
        self._read(request.model, (request.load,) if request.load is not None else (), LorasRead(request))

    def cancel(self, job: int) -> None:
        """Forget a job whose files are being read; unknown jobs are ignored."""
        if self._waiting.pop(job, None) is not None:
            self._send(failed(job, Cancelled("The generation was cancelled.")), b"")

    @property
    def has_to_place(self) -> bool:
        """Whether `place` has anything to do."""
        return bool(self._to_place)

    def receive(self, read: object) -> None:
        """Keep what has been read for `place`, or continue with a job that has all; anything else is ignored."""
        if isinstance(read, LoraRead):
            self._to_place.append(read)
        elif isinstance(read, LorasRead) and read.failure is not None:
            self._fail(read.failure)
        elif isinstance(read, LorasRead) and (waiting := self._waiting.pop(read.request.job, None)) is not None:
            self._continue(read, waiting.lora_time)

    def place(self) -> None:
        """Let the models take a few of the files that have been read, in the order of arrival, between two steps.

        A file that a model has already, for another job, holds nobody up.
        """
        placed = 0
        while self._to_place and placed < MAX_PLACED:
            placed += self._place(self._to_place.popleft())

    def _fetch(self, request: LoraRequest, hub_id: str) -> None:
        failure = None
        try:
            fetch_lora(hub_id, self._settings, lambda phase, sentence, fraction: logger.info(sentence))
        except ModelUnavailable as error:
            failure = failed(request.job, InvalidParameter(f"loras: {error}", param="loras"))
        self._send(LorasLoaded(job=request.job, failure=failure), b"")

    def _read(self, model: str, loras: tuple[Lora, ...], then: LorasRead) -> None:
        adapters = self._pool.adapters_of(model)
        missing = [lora for lora in loras if adapters is not None and not adapters.is_loaded(lora)]
        if adapters is None or not missing:
            self._continue(then)
            return
        job = then.request.job
        loads = [LoraRequest(job=job, model=model, load=lora) for lora in missing]
        self._waiting[job], weak = AwaitedFiles(then.request), weakref.ref(adapters)
        threading.Thread(target=self._read_all, args=(loads, weak, then), name="read-lora", daemon=True).start()

    def _read_all(self, loads: list[LoraRequest], weak: weakref.ref[LoraAdapters], then: LorasRead) -> None:
        try:
            for load in loads:
                if then.request.job in self._waiting:
                    self._read_one(load, weak)
        except ServiceError as error:
            then = replace(then, failure=failed(then.request.job, error))
        except Exception:
            # The job goes on: without an answer it would wait for ever.
            logger.exception("A LoRA of job %s cannot be read.", then.request.job)
        self._wake(then)

    def _read_one(self, load: LoraRequest, weak: weakref.ref[LoraAdapters]) -> None:
        """Read a file, and hold the memory that it takes until the model has taken or refused it."""
        assert load.load is not None
        with contextlib.ExitStack() as held:

            def reserve(size: int) -> AbstractContextManager[object]:
                return contextlib.nullcontext(held.enter_context(self._memory.reserve(size)))

            self._absent.fetch(load.load)
            if (adapters := weak()) is None:
                return
            adapters.read(load.load, reserve)
            del adapters
            read = LoraRead(load, weak, threading.Event())
            self._wake(read)
            read.taken.wait()

    def _place(self, read: LoraRead) -> bool:
        """Load what has been read, also for a job that was cancelled: another one may wait for the same file.

        Return whether the model did not have it yet.
        """
        try:
            # A model that was unloaded meanwhile takes its contents along.
            adapters = self._pool.adapters_of(read.request.model)
            if adapters is None or adapters is not read.adapters():
                return False
            assert read.request.load is not None
            is_new = not adapters.is_loaded(read.request.load)
            scheduler, waiting = self._pool.step_scheduler, self._waiting.get(read.request.job)
            before = scheduler.busy_seconds
            answer = scheduler.change_loras(read.request)
            if waiting is not None:
                waiting.lora_time += scheduler.busy_seconds - before
            if answer.failure is not None:
                self._fail(answer.failure)
            return is_new
        finally:
            read.taken.set()

    def _fail(self, failure: Failed) -> None:
        """End a job or a load that waits."""
        waiting = self._waiting.pop(failure.job, None)
        if waiting is not None:
            is_job = isinstance(waiting.request, Run)
            self._send(failure if is_job else LorasLoaded(job=failure.job, failure=failure), b"")

    def _continue(self, read: LorasRead, lora_time: float = 0.0) -> None:
        if isinstance(read.request, Run):
            self._pool.add(read.request, read.source, lora_time)
        else:
            self._send(self._pool.step_scheduler.change_loras(read.request), b"")
