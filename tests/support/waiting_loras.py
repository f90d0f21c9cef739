"""An engine whose LoRA files are read by threads that wait for a test."""

import queue
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from diffusers import QwenImagePipeline

from imageserver.engine.models.lora_queue import LoraQueue, LoraRead, LorasRead
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.generation import Lora
from imageserver.lora_folder import LoraFolder
from imageserver.protocol.messages import Run
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine
from tests.support.tiny_loras import save_lora


class Waiting(TinyEngine):
    """An engine whose LoRAs are read by threads; `open` lets them go on."""

    def __init__(self, pipeline: QwenImagePipeline, path: Path) -> None:
        self._path, self.digests = path, dict[str, str]()
        self.loras = LoraAdapters(pipeline, "transformer", LoraFolder(path))
        super().__init__(pipeline, adapters=self.loras)
        self.save("red", "blue")
        self.read: queue.SimpleQueue[LoraRead | LorasRead] = queue.SimpleQueue()
        self.open = threading.Event()
        pool: Any = SimpleNamespace(
            add=self.scheduler.add, step_scheduler=self.scheduler, adapters_of=lambda model: self.loras
        )
        self.queue = LoraQueue(pool, lambda *frame: self.sent.append(frame), self._wake, Settings(_env_file=None))

    def lora(self, name: str) -> Lora:
        return Lora(name=name, digest=self.digests[name])

    def save(self, *names: str) -> None:
        """Save more of them, each with a content of its own."""
        for name in names:
            save_lora(self._path, name, self.pipeline, seed=len(self.digests))
            self.digests[name] = LoraFolder(self._path).find(name).digest

    def ask(self, job: int, *names: str, **fields: Any) -> None:
        loras = tuple(self.lora(name) for name in names)
        self.queue.add(Run(job=job, generation=generation(loras=loras, **fields)), b"")

    def receive(self) -> None:
        """Let the threads go on until one has finished, and continue with what they have read."""
        self.open.set()
        read = None
        while not isinstance(read, LorasRead):
            self.queue.place()
            read = self.read.get(timeout=60)
            self.queue.receive(read)

    def _wake(self, read: LoraRead | LorasRead) -> None:
        self.open.wait(60)
        self.read.put(read)
