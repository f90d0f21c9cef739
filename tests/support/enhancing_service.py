"""A service that asks an endpoint for a better prompt, and its pending generations."""

from types import SimpleNamespace
from typing import Any

import gevent

from imageserver.api.generation.run import GenerationRequest, PendingGeneration
from imageserver.api.output_options import OutputOptions
from imageserver.api.wsgi.bodies.waiting import WaitingBytes
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.client_limits import ClientLimits
from imageserver.enhancement.enhancement import Enhancement
from imageserver.errors import QueueFull
from imageserver.protocol.messages import Queued, Submit
from imageserver.telemetry.metric_registry import MetricRegistry
from tests.support.factories import generation

ENHANCED = generation("fox", enhancement=Enhancement(prompt="fox"))
QUEUED = Queued(job=1, own=1.0, wait=0.0, position=0)


class Endpoint:
    """Takes so many seconds, then answers or raises; remembers what it was asked and how long it might take."""

    def __init__(self, answer: str | Exception = "a better fox", takes: float = 0.0) -> None:
        self.answer, self.takes = answer, takes
        self.asked: list[tuple[str, float]] = []

    def better_prompt(self, prompt: str, credential: str, *, edits: bool, seconds: float) -> str:
        self.asked.append((prompt, seconds))
        gevent.sleep(self.takes)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class AdmittingClient:
    """Accepts every generation, unless it is full, and remembers them and the limits that they came with."""

    def __init__(self) -> None:
        self.is_full = False
        self.admitted: list[ClientLimits] = []
        self.submitted: list[Submit] = []
        self.cancelled: list[int] = []
        self.left: list[int] = []

    def request_admission(self, job: int, credential: str, account: str, limits: ClientLimits) -> None:
        if self.is_full:
            raise QueueFull("The server is full.")
        self.admitted.append(limits)

    def submit(self, message: Submit, source: bytes) -> Any:
        self.submitted.append(message)
        return SimpleNamespace(updates=lambda pause: iter([QUEUED]))

    def cancel(self, job: int) -> None:
        self.cancelled.append(job)

    def client_left(self, job: int) -> None:
        self.left.append(job)


def service_with(endpoint: Endpoint | None, **settings: Any) -> Any:
    return SimpleNamespace(
        client=AdmittingClient(),
        prompt_endpoint=endpoint,
        info_of=lambda name: None,
        measurements=MetricRegistry(),
        tracing=None,
        settings=SimpleNamespace(enhance_url="http://chat", enhance_model="small", **settings),
        thread_pool=ThreadPool(1),
        waiting=WaitingBytes(2**30),
    )


def pending_of(service: Any, **fields: Any) -> PendingGeneration:
    options = OutputOptions("png", None, None)
    request = GenerationRequest(number=1, generation=ENHANCED, output_options=options, **({"timeout": 60.0} | fields))
    return PendingGeneration(service, request)
