"""Read LoRA files while others generate: threads fetch and read them, the model takes them between two forwards."""

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from imageserver.engine.batching.step_scheduler import Send
from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.downloads.lora_download import fetch_lora
from imageserver.engine.downloads.missing_loras import MissingLoras
from imageserver.engine.models.model_pool import ModelPool
from imageserver.errors import Cancelled, InvalidParameter, ServiceError
from imageserver.generation import Lora
from imageserver.protocol.messages import LoraRequest, LorasLoaded, Run, failed
from imageserver.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LorasRead:
    """A job or a load whose LoRA files have been read, and the pixels of the job's source."""

    request: Run | LoraRequest
    source: bytes = b""


class LoraQueue:
    """Jobs and loads that name LoRAs which are not loaded; each waits for its own files alone."""

    def __init__(self, pool: ModelPool, send: Send, wake: Callable[[LorasRead], None], settings: Settings) -> None:
        """`wake` passes what has been read to the engine's main thread, which calls `receive`."""
        self._pool = pool
        self._settings = settings
        self._send = send
        self._wake = wake
        self._waiting: set[int] = set()
        self._absent = MissingLoras(settings)

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
        if job in self._waiting:
            self._waiting.remove(job)
            self._send(failed(job, Cancelled("The generation was cancelled.")), b"")

    def receive(self, read: object) -> None:
        """Continue with what has been read; anything but a `LorasRead` is ignored."""
        if isinstance(read, LorasRead) and read.request.job in self._waiting:
            self._waiting.remove(read.request.job)
            self._continue(read)

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

        def read() -> None:
            try:
                for lora in missing:
                    # The model refuses it with the same sentence.
                    with contextlib.suppress(ServiceError):
                        self._absent.fetch(lora)
                        adapters.read(lora)
            except Exception:
                # The job goes on: without an answer it would wait for ever.
                logger.exception("A LoRA of job %s cannot be read.", then.request.job)
            self._wake(then)

        self._waiting.add(then.request.job)
        threading.Thread(target=read, name="read-lora", daemon=True).start()

    def _continue(self, read: LorasRead) -> None:
        if isinstance(read.request, Run):
            self._pool.add(read.request, read.source)
        else:
            self._send(self._pool.step_scheduler.change_loras(read.request), b"")
