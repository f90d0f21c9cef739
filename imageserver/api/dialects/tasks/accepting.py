"""Accept a task: hand its generation to the dispatcher, store it, and follow it in the background."""

import functools
import uuid
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

from flask import current_app

from imageserver.api.dialects.tasks import runner, source_files
from imageserver.api.dialects.tasks.recording import record_trace
from imageserver.api.dialects.tasks.stored_request import RETRIED, begin, is_open, wanted_of, wanted_of_fields
from imageserver.api.generation.better_prompt import is_asked_for
from imageserver.api.generation.request_times import trace_headers
from imageserver.api.generation.run import PendingGeneration, Update
from imageserver.api.request_context import account, credential, limits
from imageserver.api.services import Services
from imageserver.client_limits import NO_LIMITS
from imageserver.dispatch.admission import refuse_if_full, refuse_if_share_taken
from imageserver.errors import Busy, ServiceError
from imageserver.outputs.task_store import Task
from imageserver.protocol.messages import Queued
from imageserver.telemetry.logs import current_trace
from imageserver.telemetry.tracing.trace_header import trace_id_in


@dataclass(frozen=True, kw_only=True)
class TaskRequest:
    """A task that can be accepted; `pending` is None if it waits for its model.

    Then `fields` are those of a native body without its `images`, which are JSON.
    """

    number: int
    pending: PendingGeneration | None
    fields: dict[str, Any]
    warnings: list[str]
    webhook_url: str | None = None
    task_id: str | None = None
    previews: int = 0
    images: bytes = b""


@dataclass(frozen=True)
class Accepted:
    """A task that was accepted, the seconds until its images are expected, and the number of jobs before it."""

    task: Task
    expected: float | None
    position: int


def accept(service: Services, task_request: TaskRequest) -> Accepted:
    """Accept a task; raises what refuses its generation, and StorageFull."""
    # For what the log says before the generation begins.
    current_trace.set(trace_id_in(trace_headers().get("traceparent", "")))
    pending = task_request.pending
    if pending is None:
        return _accept_unloaded(service, task_request)
    if is_asked_for(service, pending.request.generation) and pending.cached() is None:
        return _accept_unimproved(service, task_request, pending)
    wanted, source = wanted_of(pending.request), pending.request.source
    updates = pending.updates()
    # Raises a refusal here: a task with an id is retried until it is generated.
    first = next(updates)
    try:
        task = _store(service, task_request, wanted, source)
    except ServiceError:
        pending.cancel()
        raise
    pending.leave_to_next_attempt(RETRIED)
    resumed = _resume(first, updates)
    runner.follow(service, task, lambda: (task, resumed))
    if isinstance(first, Queued):
        return Accepted(task, round(first.wait + first.own, 2), first.position)
    return Accepted(task, 0.0, 0)


def _resume(first: Update, updates: Generator[Update]) -> Generator[Update]:
    """Yield the first update, which was read before, and the others; an error that is thrown in reaches them."""
    try:
        yield first
    except Exception as error:
        updates.throw(error)
    yield from updates


def _accept_unimproved(service: Services, task_request: TaskRequest, pending: PendingGeneration) -> Accepted:
    """Accept a task whose prompt an endpoint improves first: it can be found and cancelled meanwhile."""
    service.client.request_admission(task_request.number, credential(), account(), limits())
    waiting = _count_waiting(service)
    task = _store(service, task_request, wanted_of(pending.request), pending.request.source)
    still_wanted = functools.partial(is_open, service, task.task_id)
    # What was accepted is charged, but no longer refused.
    pending.request = replace(pending.request, still_wanted=still_wanted, limits=NO_LIMITS, patience=None)
    pending.leave_to_next_attempt(RETRIED)
    runner.follow(service, task, lambda: (task, pending.updates()))
    return Accepted(task, None, waiting)


def _count_waiting(service: Services) -> int:
    """Return how many tasks have not ended, whether the dispatcher knows of them or not; raises QueueFull."""
    limit = service.settings.max_queue
    waiting = service.tasks.count_open()
    refuse_if_full(waiting, limit, queue_wait=lambda: 0.0)
    if credential():
        own = service.tasks.count_open(credential())
        refuse_if_share_taken(own, 1, waiting, limit, what=f"{own} generations (MAX_QUEUE)", pause=0.0)
    return waiting


def _accept_unloaded(service: Services, task_request: TaskRequest) -> Accepted:
    """Accept a task after loading its model, which may take minutes."""
    waiting = _count_waiting(service)
    has_images = bool(task_request.images)
    wanted = wanted_of_fields(task_request.fields, account(), task_request.previews, has_images=has_images)
    task = _store(service, task_request, wanted, task_request.images)
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    runner.follow(service, task, functools.partial(begin, app, service, task))
    return Accepted(task, None, waiting)


def _store(service: Services, task_request: TaskRequest, wanted: str, source: bytes) -> Task:
    """Store the task, its images and its webhook, and return it; raises StorageFull."""
    task_id, url = task_request.task_id or str(uuid.uuid4()), task_request.webhook_url
    # First: another worker may adopt the task as soon as it is stored.
    source_files.write(service, task_id, source)
    try:
        task = service.tasks.add(
            task_id=task_id,
            number=task_request.number,
            credential=credential(),
            wanted=wanted,
            warnings=task_request.warnings,
            webhook=None if url is None else (url, service.links.root()),
        )
    except Busy:
        raise
    except ServiceError:
        source_files.remove(service, task_id)
        raise
    if url is not None:
        record_trace(service, task_id)
    return task
