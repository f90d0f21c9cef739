"""A job: one generation on its way through the server, and the counts of all that were."""

import time
from dataclasses import dataclass, field
from typing import Literal, Protocol

from imageserver.generation import Generation
from imageserver.messages import Message

JobState = Literal["queued", "processing", "completed", "failed", "cancelled"]


class Listener(Protocol):
    """Who is told about a job."""

    def send(self, message: Message, raw: bytes = b"") -> None:
        """Pass a message on; never blocks and never raises."""


@dataclass
class Job:
    """One generation, who waits for it, and until when (times are `time.monotonic()` seconds)."""

    id: int
    generation: Generation
    listener: Listener
    timeout: float
    arrived: float = field(default_factory=time.monotonic)
    started: float | None = None
    engine_deaths: int = 0
    state: JobState = "queued"

    @property
    def deadline(self) -> float:
        """The moment after which nobody waits for the job."""
        return self.arrived + self.timeout


@dataclass
class Tally:
    """How many jobs came, and how they ended."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    def count_end(self, state: JobState) -> None:
        """Count a job that ended as `state`."""
        if state == "completed":
            self.completed += 1
        elif state == "failed":
            self.failed += 1
        elif state == "cancelled":
            self.cancelled += 1
