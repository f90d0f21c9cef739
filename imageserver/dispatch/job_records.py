"""The record of every request: its state, its progress and its numbered events.

A record sees every message to the client, because it sits between the job and the worker that waits for it. Records are
kept in memory only and are lost when the dispatcher restarts.
"""

import asyncio
import itertools
import math
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from imageserver.dispatch.estimates.queue_wait import WaitEstimate
from imageserver.dispatch.jobs import Listener, state_after
from imageserver.errors import Cancelled
from imageserver.generation import Generation
from imageserver.protocol import messages

# Requests that have ended are remembered until so many newer ones have come.
MAX_RECORDS = 1000
# Events of one request; an image of 150 steps has fewer.
MAX_EVENTS = 512
# Seconds that a request may take to submit its generation once its model is loaded; many are refused then.
SUBMIT_TIMEOUT_SECONDS = 30.0

ENDED = ("completed", "failed", "cancelled")
NOT_BEGUN = {"state": "queued", "started_at": None, "step": 0}
NOT_QUEUED = {"queue_position": None, "queue_wait": None}


@dataclass(frozen=True)
class Watcher:
    """Whoever watches a request, with its previews or without."""

    listener: Listener
    previews: bool = False


@dataclass
class JobRecord:
    """One request: it passes messages on to the request's worker, and records them."""

    status: messages.JobStatus
    credential: str
    worker: Listener
    client: str = ""
    # What it waits for before it has a job of its own: its model, then the generation that its worker submits.
    awaits: Literal["model", "generation", None] = None
    # The last preview of each image and its pixels, until the request ends; the newest comes last.
    previews: dict[int, tuple[messages.Preview, bytes]] = field(default_factory=dict)
    events: deque[tuple[int, str, messages.JobStatus]] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    # By the numbers of their watches.
    watchers: dict[int, Watcher] = field(default_factory=dict)

    @property
    def preview(self) -> tuple[messages.Preview, bytes] | None:
        """The newest preview and its pixels, until the request ends."""
        return next(reversed(self.previews.values()), None)

    def send(self, message: messages.Message, raw: bytes = b"") -> None:
        """Record a message about the request's job, and pass it on."""
        if isinstance(message, messages.Preview):
            self.previews.pop(message.index, None)
            self.previews[message.index] = (message, raw)
            for watch, watcher in self.watchers.items():
                self._show_preview(watch, watcher, message, raw)
        else:
            self._record(message)
        self.worker.send(message, raw)

    def add_event(self, name: str, **changes: object) -> None:
        """Add an event and send it to the watchers."""
        self.status = msgspec.structs.replace(self.status, **changes)
        number = self.events[-1][0] + 1 if self.events else 1
        self.events.append((number, name, self.status))
        for watch, watcher in self.watchers.items():
            watcher.listener.send(messages.JobEvent(job=watch, number=number, name=name, status=self.status))
        if self.status.state in ENDED:
            self.watchers.clear()
            self.previews.clear()

    def watch(self, watch: int, watcher: Watcher, after: int) -> None:
        """Send a watcher the events later than `after`, those to come included.

        The end of a request that has ended is sent again: a watch always ends.
        """
        ended = self.status.state in ENDED
        wanted = [event for event in self.events if event[0] > after]
        if ended and not wanted:
            wanted = [self.events[-1]]
        for number, name, status in wanted:
            watcher.listener.send(messages.JobEvent(job=watch, number=number, name=name, status=status))
        if not ended:
            self.watchers[watch] = watcher
            for preview, pixels in self.previews.values():
                self._show_preview(watch, watcher, preview, pixels)

    def status_with(self, expected: WaitEstimate) -> messages.JobStatus:
        """Return the status of a request that waits, perhaps in the engine, with this estimate."""
        own = round(expected.own, 3)
        wait = round(expected.wait, 3)
        return msgspec.structs.replace(
            self.status, expected_seconds=own, queue_wait=wait, queue_position=expected.position
        )

    def _show_preview(self, watch: int, watcher: Watcher, preview: messages.Preview, pixels: bytes) -> None:
        if watcher.previews:
            watcher.listener.send(msgspec.structs.replace(preview, job=watch), pixels)

    def _record(self, message: messages.Message) -> None:
        now = time.time()
        match message:
            case messages.Started() if self.awaits:
                self.add_event("model_loading")
            case messages.Progress() if self.awaits:
                pass  # these are not its own steps; the reason in the server's state says how far the model is
            case messages.ModelResponse() if self.awaits:
                self.awaits = "generation"
                self.add_event("model_loaded")
                asyncio.get_running_loop().call_later(SUBMIT_TIMEOUT_SECONDS, self._give_up)
            case messages.Queued():
                wait, own = round(message.wait, 3), round(message.own, 3)
                # Again after its engine died: nothing of what was generated is left.
                self.previews.clear()
                place = {"queue_position": message.position, "queue_wait": wait}
                self.add_event("queued", expected_seconds=own, **place, **NOT_BEGUN)
            case messages.Started():
                # A job that is run again after its engine died starts twice.
                device = message.device or None
                self.add_event("started", state="processing", started_at=now, step=0, device=device, **NOT_QUEUED)
            case messages.Progress():
                self.add_event(
                    "progress", step=message.step, total_steps=message.total, expected_seconds=message.time_left
                )
            case messages.Finished():
                self.add_event(
                    "completed",
                    state="completed",
                    completed_at=now,
                    step=self.status.total_steps,
                    inference_time=round(message.outcome.inference_time, 3),
                    vram_peak_mb=message.outcome.vram_peak_mb or None,
                    seeds=message.outcome.seeds,
                    revised_prompt=message.outcome.revised_prompt or None,
                    # Captions are never cached.
                    cache=None if self.status.kind == "caption" else "join" if message.joined else "miss",
                    **NOT_QUEUED,
                )
            case messages.ModelResponse():
                self.add_event("completed", state="completed", completed_at=now, step=self.status.total_steps)
            case messages.Failed():
                state, sentence = state_after(message), message.sentence
                self.add_event(state, state=state, completed_at=now, error=sentence, code=message.code, **NOT_QUEUED)

    def _give_up(self) -> None:
        """End a request whose worker never submitted a generation after its model loaded."""
        if self.awaits == "generation":
            self.awaits = None
            self._record(messages.failed(self.status.id, Cancelled("Nothing was asked for once the model was there.")))


class JobRecords:
    """Every request that is under way, and the last ones that ended."""

    def __init__(self) -> None:
        self._records: OrderedDict[int, JobRecord] = OrderedDict()

    def open(self, request: messages.Submit, worker: Listener) -> JobRecord:
        """Return the record of a request, a new one or that of its wait for its model; it listens to the job."""
        status = _status(request.job, request.dialect, request.generation)
        record = self._records.get(request.job)
        if record is not None and record.awaits:
            record.status = msgspec.structs.replace(status, created_at=record.status.created_at)
            record.worker, record.client, record.awaits = worker, request.client, None
            return record
        return self._add(JobRecord(status, request.credential, worker, request.client))

    def open_load(self, request: messages.ModelRequest, worker: Listener) -> JobRecord:
        """Return the new record of a model to be loaded, or of a request that waits for it."""
        awaits_model = request.prompt is not None
        status = messages.JobStatus(
            id=request.job, kind="generation" if awaits_model else "model", model=request.load, dialect=request.dialect,
            state="queued", prompt=request.prompt or "", width=0, height=0, steps=0, n=0, seed=0, priority="normal",
            created_at=time.time(), total_steps=0 if awaits_model else 100,
        )  # fmt: skip
        awaits: Literal["model", None] = "model" if awaits_model else None
        return self._add(JobRecord(status, request.credential, worker, request.client, awaits))

    def record_cache_hit(self, hit: messages.CacheHit, worker: Listener) -> None:
        record = self._add(JobRecord(_status(hit.job, hit.dialect, hit.generation), hit.credential, worker))
        status = record.status
        record.add_event(
            "completed",
            state="completed",
            started_at=status.created_at,
            completed_at=status.created_at,
            step=status.total_steps,
            inference_time=round(hit.outcome.inference_time, 3),
            seeds=hit.outcome.seeds,
            revised_prompt=hit.outcome.revised_prompt or None,
            cache="hit",
        )

    def find(self, number: int, credential: str) -> JobRecord | None:
        """Return a request's record, unless it is another credential's."""
        record = self._records.get(number)
        return record if record is not None and credential in ("", record.credential) else None

    def listed(self, query: messages.ListJobs) -> Iterator[JobRecord]:
        """Return the records that a query wants, the newest first, or in the order in which it names them."""
        if query.among is None:
            known: Iterator[JobRecord] = reversed(self._records.values())
        else:
            known = (self._records[number] for number in query.among if number in self._records)
        wanted = (
            record
            for record in known
            if query.credential in ("", record.credential) and (not query.states or record.status.state in query.states)
        )
        return itertools.islice(wanted, query.limit)

    def current(self, dialect: str, credential: str, client: str) -> JobRecord | None:
        """Return the first of somebody's requests that runs, else the first that waits, else the newest.

        They are those of a credential; without one, those from an address.
        """
        own = [
            record
            for record in self._records.values()
            if record.status.dialect == dialect
            and record.credential == credential
            and (credential or record.client == client)
        ]
        under_way = [record for record in own if record.status.state not in ENDED]
        # Of equals the first is taken: a queued request may have begun before one that came earlier.
        return min(under_way, key=lambda record: record.status.started_at or math.inf, default=own[-1] if own else None)

    def _add(self, record: JobRecord) -> JobRecord:
        self._records[record.status.id] = record
        if len(self._records) > MAX_RECORDS:
            # What is under way stays, however old: MAX_QUEUE bounds it.
            ended = (number for number, old in self._records.items() if old.status.state in ENDED)
            oldest = next(ended, None)
            if oldest is not None:
                del self._records[oldest]
        return record


def _status(number: int, dialect: str, generation: Generation) -> messages.JobStatus:
    width, height = generation.answer_size
    return messages.JobStatus(
        id=number, kind="caption" if generation.caption else "generation", model=generation.model, dialect=dialect,
        state="queued", prompt=generation.prompt,
        width=width, height=height, steps=generation.steps, n=generation.count,
        seed=generation.seed, priority=generation.priority, created_at=time.time(),
        total_steps=generation.generated_steps * generation.count,
    )  # fmt: skip
