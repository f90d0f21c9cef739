"""What became of every request, for whoever asks: states, progress and numbered events.

The ledger hears what a request's client hears, because it stands between the job and the worker that waits for it.
It is kept in memory: a new dispatcher begins a new one.
"""

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from imageserver.dispatch.estimates.queue_wait import WaitEstimate
from imageserver.dispatch.jobs import Listener
from imageserver.errors import Cancelled
from imageserver.generation import Generation
from imageserver.protocol.messages import (
    CacheHit,
    Failed,
    Finished,
    JobEvent,
    JobStatus,
    Message,
    ModelRequest,
    ModelResponse,
    Preview,
    Progress,
    Queued,
    Started,
    Submit,
    failed,
)

# Requests that have ended are remembered until so many newer ones have come.
REMEMBERED = 1000
# Events of one request; an image of 150 steps has fewer.
REMEMBERED_EVENTS = 512
# Seconds that a request whose model has come is given to say what shall be generated; many are refused then.
TIMEOUT_SECONDS = 30.0

ENDED = ("completed", "failed", "cancelled")


@dataclass
class JobRecord:
    """One request: it passes on what its worker is told, and writes it down."""

    status: JobStatus
    credential: str
    worker: Listener
    client: str = ""
    # What it waits for before its own job: its model, then that its worker says what shall be generated with that.
    awaits: Literal["model", "order", None] = None
    # The last image in the making and its pixels, as long as it is in the making.
    preview: tuple[Preview, bytes] | None = None
    events: deque[tuple[int, str, JobStatus]] = field(default_factory=lambda: deque(maxlen=REMEMBERED_EVENTS))
    # Whoever watches: the listener and the number of its question.
    watchers: dict[int, Listener] = field(default_factory=dict)

    def send(self, message: Message, raw: bytes = b"") -> None:
        """Take the news of the request's job, and pass them on."""
        if isinstance(message, Preview):
            self.preview = (message, raw)
        else:
            self._write_down(message)
        self.worker.send(message, raw)

    def happen(self, name: str, **changes: object) -> None:
        """Write an event down and tell it to whoever watches."""
        self.status = msgspec.structs.replace(self.status, **changes)
        number = self.events[-1][0] + 1 if self.events else 1
        self.events.append((number, name, self.status))
        for question, listener in self.watchers.items():
            listener.send(JobEvent(job=question, number=number, name=name, status=self.status))
        if self.status.state in ENDED:
            self.watchers.clear()
            self.preview = None

    def watch(self, question: int, listener: Listener, after: int) -> None:
        """Tell a listener the events later than `after`, those to come included.

        An ended request whose end was told already is told again: a watch always ends.
        """
        ended = self.status.state in ENDED
        wanted = [event for event in self.events if event[0] > after]
        if ended and not wanted:
            wanted = [self.events[-1]]
        for number, name, status in wanted:
            listener.send(JobEvent(job=question, number=number, name=name, status=status))
        if not ended:
            self.watchers[question] = listener

    def status_with(self, expected: WaitEstimate, *, running: bool) -> JobStatus:
        """Return the status with what is expected at this moment; a running request waits for nothing."""
        own = round(expected.own, 3)
        if running:
            return msgspec.structs.replace(self.status, expected_seconds=own)
        wait = round(expected.wait, 3)
        return msgspec.structs.replace(
            self.status, expected_seconds=own, queue_wait=wait, queue_position=expected.position
        )

    def _write_down(self, message: Message) -> None:
        now = time.time()
        match message:
            case Started() if self.awaits:
                self.happen("model_loading")
            case Progress() if self.awaits:
                pass  # these are no steps of its own; the reason in the server's state tells how far the model is
            case ModelResponse() if self.awaits:
                self.awaits = "order"
                self.happen("model_loaded")
                asyncio.get_running_loop().call_later(TIMEOUT_SECONDS, self._give_up)
            case Queued():
                self.happen(
                    "queued",
                    queue_position=message.position,
                    queue_wait=round(message.wait, 3),
                    expected_seconds=round(message.own, 3),
                )
            case Started():
                # A job that is run again after its engine died starts twice.
                self.happen("started", state="processing", started_at=now, step=0, queue_position=None, queue_wait=None)
            case Progress():
                self.happen("progress", step=message.step, total_steps=message.total)
            case Finished():
                self.happen(
                    "completed",
                    state="completed",
                    completed_at=now,
                    step=self.status.total_steps,
                    queue_position=None,
                    queue_wait=None,
                    inference_time=round(message.outcome.inference_time, 3),
                    vram_peak_mb=message.outcome.vram_peak_mb or None,
                    seeds=message.outcome.seeds,
                    cache="join" if message.joined else "miss",
                )
            case ModelResponse():
                self.happen("completed", state="completed", completed_at=now, step=self.status.total_steps)
            case Failed():
                state = "cancelled" if message.code == "cancelled" else "failed"
                self.happen(
                    state,
                    state=state,
                    completed_at=now,
                    queue_position=None,
                    queue_wait=None,
                    error=message.sentence,
                    code=message.code,
                )

    def _give_up(self) -> None:
        """End a request that was refused once its model was known, was no more than a question, or lost its worker."""
        if self.awaits == "order":
            self.awaits = None
            self._write_down(failed(self.status.id, Cancelled("Nothing was asked for once the model was there.")))


class JobRecords:
    """Every request that is under way, and the last ones that ended."""

    def __init__(self) -> None:
        self._entries: OrderedDict[int, JobRecord] = OrderedDict()

    def open(self, request: Submit, worker: Listener) -> JobRecord:
        """Return the entry of a request, a new one or that of its wait for its model; it is what its job shall tell."""
        status = _status(request.job, request.dialect, request.generation)
        entry = self._entries.get(request.job)
        if entry is not None and entry.awaits:
            entry.status = msgspec.structs.replace(status, created_at=entry.status.created_at)
            entry.worker, entry.client, entry.awaits = worker, request.client, None
            return entry
        return self._add(JobRecord(status, request.credential, worker, request.client))

    def open_load(self, request: ModelRequest, worker: Listener) -> JobRecord:
        """Return the new entry of a model that shall be loaded, or of a request that waits for it."""
        awaits_model = request.prompt is not None
        status = JobStatus(
            id=request.job, kind="generation" if awaits_model else "model", model=request.load, dialect=request.dialect,
            state="queued", prompt=request.prompt or "", width=0, height=0, steps=0, n=0, seed=0, priority="normal",
            created_at=time.time(), total_steps=0 if awaits_model else 100,
        )  # fmt: skip
        awaits: Literal["model", None] = "model" if awaits_model else None
        return self._add(JobRecord(status, request.credential, worker, request.client, awaits))

    def note(self, request: CacheHit, worker: Listener) -> None:
        """Write down a request that was answered from the cache."""
        entry = self._add(
            JobRecord(_status(request.job, request.dialect, request.generation), request.credential, worker)
        )
        status = entry.status
        entry.happen(
            "completed",
            state="completed",
            started_at=status.created_at,
            completed_at=status.created_at,
            step=status.total_steps,
            inference_time=round(request.outcome.inference_time, 3),
            seeds=request.outcome.seeds,
            cache="hit",
        )

    def find(self, number: int, credential: str) -> JobRecord | None:
        """Return a request's entry, unless it is another credential's."""
        entry = self._entries.get(number)
        return entry if entry is not None and credential in ("", entry.credential) else None

    def newest(self, credential: str, state: str | None, limit: int) -> Iterator[JobRecord]:
        """Yield the newest entries first."""
        for entry in reversed(self._entries.values()):
            if limit == 0:
                return
            if credential in ("", entry.credential) and state in (None, entry.status.state):
                limit -= 1
                yield entry

    def current(self, dialect: str, credential: str, client: str) -> JobRecord | None:
        """Return the first of somebody's requests that runs, else the first that waits, else the newest.

        They are those of a credential; without one, those from an address.
        """
        own = [
            entry
            for entry in self._entries.values()
            if entry.status.dialect == dialect
            and entry.credential == credential
            and (credential or entry.client == client)
        ]
        under_way = [entry for entry in own if entry.status.state not in ENDED]
        # Of equals the first is taken: a queued request may have begun before one that came earlier.
        return min(under_way, key=lambda entry: entry.status.started_at or math.inf, default=own[-1] if own else None)

    def _add(self, entry: JobRecord) -> JobRecord:
        self._entries[entry.status.id] = entry
        if len(self._entries) > REMEMBERED:
            # What is under way stays, however old: MAX_QUEUE bounds it.
            ended = (number for number, old in self._entries.items() if old.status.state in ENDED)
            oldest = next(ended, None)
            if oldest is not None:
                del self._entries[oldest]
        return entry


def _status(number: int, dialect: str, generation: Generation) -> JobStatus:
    return JobStatus(
        id=number,
        model=generation.model,
        dialect=dialect,
        state="queued",
        prompt=generation.prompt,
        width=generation.width,
        height=generation.height,
        steps=generation.steps,
        n=generation.count,
        seed=generation.seed,
        priority=generation.priority,
        created_at=time.time(),
        total_steps=generation.generated_steps * generation.count,
    )
