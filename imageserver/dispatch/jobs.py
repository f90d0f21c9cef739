"""A job: one generation on its way through the server, who waits for it, and the counts of all that were."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

from imageserver.generation import Generation
from imageserver.protocol.messages import Failed, Finished, Message, Preview, Progress, Queued, Started
from imageserver.scheduling_policy import Claim

JobState = Literal["queued", "processing", "completed", "failed", "cancelled"]


class Listener(Protocol):
    """Who is told about jobs."""

    def send(self, message: Message, raw: bytes = b"") -> None:
        """Pass a message on; never blocks and never raises."""


@dataclass
class Waiter:
    """One client's wait for a job; several wait for one job when they asked for the same images.

    `listener` is told the job's news; `worker` is the process that the client is connected to.
    """

    id: int
    listener: Listener
    worker: Listener
    timeout: float
    joined: bool = False
    arrived: float = field(default_factory=time.monotonic)
    timer: asyncio.TimerHandle | None = None

    def tell(self, message: Queued | Started | Progress | Preview | Finished | Failed, raw: bytes = b"") -> None:
        """Pass news of the job on under the client's own number."""
        self.listener.send(msgspec.structs.replace(message, job=self.id), raw)


@dataclass
class Job:
    """One generation; `work` is its expected device time, moments are `time.monotonic()` seconds.

    `source` holds the pixels that `generation.source` describes; `begun` tells that the engine has said so. `result` is
    kept of a job whose client may come back.
    """

    id: int
    generation: Generation
    waiters: list[Waiter]
    credential: str = ""
    twin_key: str | None = None
    work: float = 0.0
    arrived: float = field(default_factory=time.monotonic)
    started: float | None = None
    share_done: float = 0.0
    begun: bool = False
    engine_deaths: int = 0
    state: JobState = "queued"
    source: bytes = b""
    result: tuple[Finished, bytes] | None = None

    @property
    def remaining(self) -> float:
        """The expected device time that is left."""
        return self.work * (1 - self.share_done)

    def claim(self) -> Claim:
        """Return what the job may claim of the device."""
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
    """How many requests came, and how they ended."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    def count_end(self, state: JobState) -> None:
        """Count a request that ended as `state`."""
        if state == "completed":
            self.completed += 1
        elif state == "failed":
            self.failed += 1
        elif state == "cancelled":
            self.cancelled += 1
