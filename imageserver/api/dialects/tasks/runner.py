"""Run tasks in the background of an HTTP worker, and adopt those that nobody follows."""

import functools
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gevent
import msgspec
from flask import Flask, g
from werkzeug.datastructures import Headers

from imageserver.api.credentials.api_keys import Owner
from imageserver.api.dialects.tasks import source_files
from imageserver.api.dialects.tasks.recording import record_end, record_if_possible
from imageserver.api.generation.build_request import NO_IMAGES, parse_request, prepare
from imageserver.api.generation.run import GenerationRequest, GenerationResult, PendingGeneration, Update
from imageserver.api.generation.save import save_all
from imageserver.api.inputs.images.request_images import read_images
from imageserver.api.output_options import OutputOptions
from imageserver.api.request_context import EXTENSION
from imageserver.api.services import Services
from imageserver.client_limits import NO_LIMITS
from imageserver.errors import Draining, EngineUnavailable, Loading, QueueFull, ServiceError, StorageUnavailable
from imageserver.generation import Generation, OutputFormat
from imageserver.outputs.task_store import Task
from imageserver.protocol.messages import Started
from imageserver.telemetry.logs import current_credential, current_request

logger = logging.getLogger(__name__)

DIALECT = "tasks"
ADOPTION_INTERVAL_SECONDS = 1.0
# The pause before a task that found a full queue or no engine is retried.
RETRY_SECONDS = 1.0
STATUS_INTERVAL_SECONDS = 0.5

# A task with its current fields, and the updates of its generation.
RunningTask = tuple[Task, Iterator[Update]]


class StoredRequest(msgspec.Struct, frozen=True):
    """The request of a task as it is stored, so that any worker can generate it again."""

    generation: Generation
    output_format: OutputFormat
    compression: int | None
    aspect_ratio_name: str | None
    timeout: float
    use_cache: bool
    account: str = ""


def wanted_of(generation_request: GenerationRequest) -> str:
    """Return a request as JSON for the task store."""
    options = generation_request.output_options
    encoding = options.output_format, options.compression, options.aspect_ratio_name
    stored = StoredRequest(
        generation_request.generation, *encoding, generation_request.timeout, generation_request.use_cache,
        generation_request.account,
    )  # fmt: skip
    return msgspec.json.encode(stored).decode()


def wanted_of_fields(fields: dict[str, Any], account: str, previews: int = 0) -> str:
    """Return the `POST /generate` fields of a task that waits for its model as JSON for the task store."""
    return msgspec.json.encode({"fields": fields, "account": account, "previews": previews}).decode()


def begin(app: Flask, service: Services, task: Task) -> RunningTask:
    """Return a task and the updates of its current attempt; waits if its model must be loaded first.

    Raises ValueError for a stored request of another version, and every error that refuses a request.
    """
    content, source = msgspec.json.decode(task.wanted), source_files.read(service, task.task_id)
    if isinstance(content, dict) and "fields" in content:
        with app.test_request_context():
            g.arrived = time.monotonic()
            # What was accepted is charged, but no longer refused.
            g.owner, g.account = Owner(task.credential, "user", NO_LIMITS), content.get("account", task.credential)
            images = read_images(service, msgspec.json.decode(source)) if source else NO_IMAGES
            previews = content.get("previews", 0)
            parsed = parse_request(
                service, content["fields"], Headers(), dialect=DIALECT, images=images, previews=previews
            )
            pending = prepare(service, task.number, parsed)
        source_files.write(service, task.task_id, pending.request.source)
        task = replace(task, warnings=(*task.warnings, *pending.warnings))
        wanted, warnings = wanted_of(pending.request), list(task.warnings)
        record_if_possible(functools.partial(service.tasks.set_wanted, task.task_id, wanted=wanted, warnings=warnings))
    else:
        stored = msgspec.convert(_renamed(content), type=StoredRequest)
        pending = PendingGeneration(service, _stored_request(service, task, stored, source))
    return task, pending.updates()


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
        output_options=OutputOptions(*encoding, service.settings.font_path, service.output_sealer),
        timeout=wanted.timeout,
        use_cache=wanted.use_cache,
        credential=task.credential,
        account=wanted.account or task.credential,
        dialect=DIALECT,
        source=source,
    )


def start(app: Flask) -> None:
    """Start adopting tasks that nobody follows, and limiting those that are kept, in the background."""
    gevent.spawn(_adopt_forever, app, app.extensions[EXTENSION])


def follow(service: Services, task: Task, begin: Callable[[], RunningTask]) -> None:
    """Run a task to its end in the background of this process, which owns it."""
    gevent.spawn(_follow, service, task, begin)


def _follow(service: Services, task: Task, begin: Callable[[], RunningTask]) -> None:
    current_request.set(task.number)
    current_credential.set(task.credential)
    try:
        record_end(_run(service, task, begin))
        source_files.remove_ended(service, task.task_id)
    finally:
        service.tasks.unfollow(task.task_id)


def _run(service: Services, task: Task, begin: Callable[[], RunningTask]) -> Callable[[], None]:
    """Generate a task and return the write that records how it went; it holds no image."""
    store, name = service.tasks, task.task_id
    end = functools.partial(store.release, name)
    try:
        task, updates = begin()
        for update in updates:
            if isinstance(update, Started):
                record_if_possible(functools.partial(store.start, name))
            elif isinstance(update, GenerationResult):
                end = functools.partial(store.complete, name, **_completion(service, task, update))
    except (Draining, EngineUnavailable, Loading, QueueFull, StorageUnavailable) as error:
        # The server is stopping, an engine restarts, the queue is full or the store away: the task is retried.
        _wait(service, name, error)
        return end
    except ServiceError as error:
        end = functools.partial(store.fail, name, code=error.code, sentence=error.sentence)
    except ValueError:
        logger.exception("Task %s cannot be read.", name)
        end = functools.partial(store.fail, name, code="internal_error", sentence="The stored task cannot be read.")
    except Exception:
        logger.exception("The task failed.")
        sentence = "Internal server error; see the server's log."
        end = functools.partial(store.fail, name, code="internal_error", sentence=sentence)
    store.waits.end(name)
    return end


def _wait(service: Services, task_id: str, error: ServiceError) -> None:
    """Wait before the next attempt; a change of the server's state ends what is more than the error asks for."""
    # The next place in a full queue is for whoever asks in time.
    grows, asked = not isinstance(error, QueueFull), error.retry_after or RETRY_SECONDS
    wait = service.tasks.waits.extend(task_id, error.sentence, asked, grows=grows)
    if wait.is_new:
        logger.info("The task waits: %s", error.sentence)
    status, began = service.status, time.monotonic()
    while not service.draining:
        limit = wait.pause if service.status == status else asked
        left = began + limit - time.monotonic()
        if left <= 0:
            return
        gevent.sleep(min(left, STATUS_INTERVAL_SECONDS))


def _completion(service: Services, task: Task, result: GenerationResult) -> dict[str, Any]:
    """Save the images and return the fields of a completed task; raises StorageFull, StorageUnavailable."""
    return {
        "files": save_all(service, result),
        "seeds": result.outcome.seeds,
        "processing_time": round(result.outcome.inference_time, 2),
        "warnings": [*task.warnings, *result.outcome.warnings],
    }


def _adopt_forever(app: Flask, service: Services) -> None:
    obstacle = ""
    source_files.remove_abandoned(service)
    while True:
        gevent.sleep(ADOPTION_INTERVAL_SECONDS)
        try:
            service.tasks.maintain()
            if not (service.draining or service.snapshot is None):
                adopt(app, service)
        except ServiceError as error:
            service.tasks.obstacle = service.tasks.obstacle or error.sentence
        except Exception:
            # The loop must go on: nothing else runs these tasks.
            logger.exception("Tasks cannot be adopted.")
        if service.tasks.obstacle != obstacle:
            # Once, not every second.
            obstacle = service.tasks.obstacle
            logger.error("No task can be stored: %s", obstacle) if obstacle else logger.info("Tasks are stored again.")


def adopt(app: Flask, service: Services) -> None:
    """Adopt and run the tasks that nobody follows; raises StorageFull."""
    for task in service.tasks.adopt(service.request_ids.next_id):
        if task.task_id not in service.tasks.waits:
            logger.info("Task %s is adopted.", task.task_id)
        follow(service, task, functools.partial(begin, app, service, task))
