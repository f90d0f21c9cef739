"""The request of a task as it is stored, so that any worker can generate it, again where it must wait."""

import contextlib
import functools
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

import msgspec
from flask import Flask, g, request
from werkzeug.datastructures import Headers

from imageserver.api.credentials.api_keys import Owner
from imageserver.api.dialects.tasks import source_files
from imageserver.api.dialects.tasks.recording import record_if_possible
from imageserver.api.generation.build_request import NO_IMAGES, parse_request, prepare
from imageserver.api.generation.request_times import trace_headers
from imageserver.api.generation.run import GenerationRequest, PendingGeneration, Update
from imageserver.api.inputs.images.request_images import read_images
from imageserver.api.output_options import OutputOptions
from imageserver.api.services import Services
from imageserver.client_limits import NO_LIMITS
from imageserver.errors import (
    Draining,
    EngineUnavailable,
    GenerationFailed,
    Loading,
    QueueFull,
    StorageFull,
    StorageUnavailable,
)
from imageserver.generation import Generation, OutputFormat
from imageserver.outputs.task_store import Task
from imageserver.telemetry.logs import current_trace
from imageserver.telemetry.tracing.trace_header import trace_id_in

DIALECT = "tasks"
# The server is stopping, an engine restarts, the queue is full or the store away: the task is retried.
RETRIED = (Draining, EngineUnavailable, Loading, QueueFull, StorageUnavailable)

# A task with its current fields, and the updates of its generation.
RunningTask = tuple[Task, Generator[Update]]


class StoredRequest(msgspec.Struct, frozen=True):
    """The request of a task as it is stored, so that any worker can generate it again."""

    generation: Generation
    output_format: OutputFormat
    compression: int | None
    aspect_ratio_name: str | None
    timeout: float
    use_cache: bool
    account: str = ""
    trace: dict[str, str] = {}


def wanted_of(generation_request: GenerationRequest) -> str:
    """Return a request as JSON for the task store."""
    options = generation_request.output_options
    encoding = options.output_format, options.compression, options.aspect_ratio_name
    stored = StoredRequest(
        generation_request.generation, *encoding, generation_request.timeout, generation_request.use_cache,
        generation_request.account, trace_headers(),
    )  # fmt: skip
    return msgspec.json.encode(stored).decode()


def wanted_of_fields(fields: dict[str, Any], account: str, previews: int = 0, *, has_images: bool = False) -> str:
    """Return the `POST /generate` fields of a task that waits for its model as JSON for the task store."""
    kept = {"account": account, "previews": previews, "has_images": has_images, "trace": trace_headers()}
    stored = {"fields": fields, **kept}
    return msgspec.json.encode(stored).decode()


def begin(app: Flask, service: Services, task: Task) -> RunningTask:
    """Return a task and the updates of its current attempt; waits if its model must be loaded first.

    Raises ValueError for a stored request of another version, and every error that refuses a request.
    """
    content, source = msgspec.json.decode(task.wanted), source_files.read(service, task.task_id)
    trace = content.get("trace", {}) if isinstance(content, dict) else {}
    # For what the log says before the generation begins.
    current_trace.set(trace_id_in(trace.get("traceparent", "")))
    if isinstance(content, dict) and "fields" in content:
        with _in_trace(app, trace):
            _require_images(source, are_named=content.get("has_images", False))
            g.arrived = time.monotonic()
            # What was accepted is charged, but no longer refused.
            g.owner, g.account = Owner(task.credential, "user", NO_LIMITS), content.get("account", task.credential)
            images = read_images(service, msgspec.json.decode(source)) if source else NO_IMAGES
            previews = content.get("previews", 0)
            parsed = parse_request(
                service, content["fields"], Headers(), dialect=DIALECT, images=images, previews=previews
            )
            pending = prepare(service, task.number, parsed)
            wanted = wanted_of(pending.request)
        source_files.write(service, task.task_id, pending.request.source)
        pending.request = replace(pending.request, still_wanted=functools.partial(is_open, service, task.task_id))
        task = replace(task, warnings=(*task.warnings, *pending.warnings))
        warnings = list(task.warnings)
        record_if_possible(functools.partial(service.tasks.set_wanted, task.task_id, wanted=wanted, warnings=warnings))
    else:
        stored = msgspec.convert(_renamed(content), type=StoredRequest)
        with _in_trace(app, trace):
            _require_images(source, are_named=bool(stored.generation.source or stored.generation.controls))
            pending = PendingGeneration(service, _stored_request(service, task, stored, source))
    pending.leave_to_next_attempt(RETRIED)
    return task, pending.updates()


def _require_images(source: bytes, *, are_named: bool) -> None:
    """Raise GenerationFailed where the state folder came back without the images: their prompt alone means another."""
    if are_named and not source:
        raise GenerationFailed("The images that this task starts from are gone from STATE_DIR; submit it again.")


@contextlib.contextmanager
def _in_trace(app: Flask, trace: dict[str, str]) -> Iterator[None]:
    """Continue the trace of the client, whose request is over."""
    with app.test_request_context(headers=trace):
        # Else it would be a request for the page.
        request.url_rule = None
        yield


def _renamed(content: Any) -> Any:
    """Return a stored request in the words of this version: once there was one control image, and no list of them."""
    if isinstance(content, dict) and isinstance(content.get("generation"), dict):
        generation = dict(content["generation"])
        if control := generation.pop("control", None):
            generation["controls"] = [control]
        return content | {"generation": generation}
    return content


def _stored_request(service: Services, task: Task, wanted: StoredRequest, source: bytes) -> GenerationRequest:
    encoding = wanted.output_format, wanted.compression, wanted.aspect_ratio_name
    return GenerationRequest(
        number=task.number,
        generation=wanted.generation,
        output_options=OutputOptions(
            *encoding, service.settings.font_path, service.output_sealer, service.output_signer
        ),
        timeout=wanted.timeout,
        use_cache=wanted.use_cache,
        credential=task.credential,
        account=wanted.account or task.credential,
        dialect=DIALECT,
        source=source,
        still_wanted=functools.partial(is_open, service, task.task_id),
    )


def is_open(service: Services, task_id: str) -> bool:
    """Return whether a task has not ended; its client may have cancelled it before the dispatcher knew of it."""
    try:
        task = service.tasks.find(task_id, "")
    except StorageFull:
        # The store is away: whoever could cancel it cannot reach it either.
        return True
    return task is not None and task.completed_at is None
