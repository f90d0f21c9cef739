"""A model pool of tiny models, everything that it sends and reports, and the images of its models."""

import gc
import threading
from dataclasses import replace
from types import UnionType
from typing import Any

from diffusers import QwenImageTransformer2DModel

from imageserver.engine.models.initial_model import open_model_pool
from imageserver.protocol.initial_model import InitialModel
from imageserver.protocol.messages import Failed, Finished, Message, Run
from imageserver.settings import Settings
from tests.support.tiny_engine import Wanted


class TinyPool:
    """An open pool; what it reports are the phases and their sentences."""

    def __init__(self, settings: Settings, **initial: InitialModel | None) -> None:
        self.sent: list[tuple[Message, bytes]] = []
        self.reports: list[tuple[str, str]] = []
        self._news = threading.Condition()
        self.pool = open_model_pool(settings, self.report, self.send, **initial)

    def report(self, phase: str, sentence: str, fraction: float | None, job: int = 0) -> None:
        self.reports.append((phase, sentence))

    def send(self, message: Message, raw: bytes = b"") -> None:
        with self._news:
            self.sent.append((message, raw))
            self._news.notify_all()

    @property
    def names(self) -> list[str]:
        return [info.name for info in self.pool.loaded]

    @staticmethod
    def denoisers() -> list[Any]:
        """Return every Qwen-Image transformer in this process's memory."""
        gc.collect()
        # By the exact type: asking every object for its class wakes libraries' deprecations.
        return [each for each in gc.get_objects() if type(each) is QwenImageTransformer2DModel]

    def of(self, kind: type[Message] | UnionType) -> list[tuple[Any, bytes]]:
        """Return what has been sent of some kind."""
        return [(message, raw) for message, raw in self.sent if isinstance(message, kind)]

    def wait_for(self, kind: type[Message] | UnionType, count: int = 1) -> list[tuple[Any, bytes]]:
        """Return what has been sent of some kind, once there is enough: another thread turns images into bytes."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.of(kind)) >= count, timeout=60), self.sent
            return self.of(kind)

    def add(self, job: int, wanted: Wanted) -> None:
        """Give it a job for the model that it names, or for the one that was used last."""
        one, source = wanted if isinstance(wanted, tuple) else (wanted, b"")
        self.pool.add(Run(job=job, generation=replace(one, model=one.model or self.names[-1])), source)

    def run(self) -> None:
        """Step until nothing is left."""
        while self.pool.step_scheduler.busy:
            self.pool.step_scheduler.step()

    def generate(self, *wanted: Wanted) -> list[bytes]:
        """Generate at the same time and return the pixels of each; a failure fails the test."""
        self.sent.clear()
        for job, one in enumerate(wanted):
            self.add(job, one)
        self.run()
        ends = self.wait_for(Finished | Failed, len(wanted))
        assert not self.of(Failed), self.sent
        return [raw for _, raw in sorted(ends, key=lambda end: end[0].job)]
