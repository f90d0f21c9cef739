"""A job: one generation on its way through the server, the clients that wait for it, and the counts of all requests."""

import asyncio
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from imageserver.errors import Cancelled
from imageserver.generation import Generation
from imageserver.protocol.messages import Failed, Finished, Message, Preview, Progress, Queued, Started
from imageserver.scheduling_policy import Claim
from imageserver.telemetry.logs import log_fields_of

JobState = Literal["queued", "processing", "completed", "failed", "cancelled"]


class Listener(Protocol):
    """Whoever receives messages about jobs."""

    def send(self, message: Message, raw: bytes = b"") -> None:
        """Pass a message on; never blocks and never raises."""


@dataclass
class Waiter:
    """One client's wait for a job; several wait for one job when they asked for the same images.

    `listener` receives the job's messages; `worker` is the process that the client is connected to. `timeout` seconds
    after `arrived`, a moment of the event loop's clock, the client gets DeadlineExceeded.
    """

    id: int
    listener: Listener
    worker: Listener
    timeout: float
    arrived: float
    joined: bool = False
    timer: asyncio.TimerHandle | None = None

    def notify(self, message: Queued | Started | Progress | Preview | Finished | Failed, raw: bytes = b"") -> None:
        """Pass a message about the job on under the client's own number."""
        self.listener.send(msgspec.structs.replace(message, job=self.id), raw)


@dataclass
class Job:
    """One generation; `work` is its expected device time, moments are those of the event loop's clock.

    `paced_work` is that time as its steps show it, None before the first. `source` holds the pixels that
    `generation.source` describes; `begun` is set once the engine has reported it. `device` is the name of the seat that
    it was given to. `result` is kept if the client may retry.
    """

    id: int
    generation: Generation
    waiters: list[Waiter]
    arrived: float
    credential: str = ""
    trace_id: str = ""
    twin_key: str | None = None
    work: float = 0.0
    started: float | None = None
    share_done: float = 0.0
    paced_work: float | None = None
    begun: bool = False
    engine_deaths: int = 0
    state: JobState = "queued"
    device: str = ""
    source: bytes = b""
    result: tuple[Finished, bytes] | None = None

    @property
    def log_fields(self) -> dict[str, object]:
        """What a log line about it says of the request that it was made for."""
        return log_fields_of(self.id, self.trace_id)

    @property
    def remaining(self) -> float:
        """The expected device time that it still takes, at the pace of its last steps."""
        work = self.work if self.paced_work is None else self.paced_work
        return work * (1 - self.share_done)

    @property
    def claim(self) -> Claim:
        """The job's claim as things stand."""
        return Claim(
            owner=self.id,
            credential=self.credential,
            priority=self.generation.priority,
            arrived=self.arrived,
            work=self.work,
            remaining=self.remaining,
        )


@dataclass
class Tally:
    """How many requests came, and how they ended; those that were refused have failed too."""

    total: int = 0
    refused: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    def count(self, state: JobState) -> None:
        setattr(self, state, getattr(self, state) + 1)


def state_after(message: Finished | Failed) -> JobState:
    """Return the state of a job that ended with this message."""
    if isinstance(message, Finished):
        return "completed"
    return "cancelled" if message.code == Cancelled.code else "failed"
