"""Run tasks in the background of an HTTP worker, and adopt those that nobody follows."""

import functools
import logging
import time
from collections.abc import Callable, Generator
from typing import Any

import gevent
from flask import Flask

from imageserver.api.dialects.tasks import source_files
from imageserver.api.dialects.tasks.recording import record_end, record_if_possible, record_trace
from imageserver.api.dialects.tasks.stored_request import RETRIED, RunningTask, begin
from imageserver.api.generation.run import GenerationResult, Update
from imageserver.api.generation.save import save_all
from imageserver.api.request_context import EXTENSION
from imageserver.api.services import Services
from imageserver.errors import QueueFull, ServiceError
from imageserver.outputs.task_store import Task
from imageserver.outputs.task_waits import MAX_PAUSE_SECONDS
from imageserver.protocol.messages import Started
from imageserver.telemetry.logs import current_credential, current_request, current_trace

logger = logging.getLogger(__name__)

ADOPTION_INTERVAL_SECONDS = 1.0
# The pause before a task that found a full queue or no engine is retried.
RETRY_SECONDS = 1.0
STATUS_INTERVAL_SECONDS = 0.5


def start(app: Flask) -> None:
    """Start adopting tasks that nobody follows, and limiting those that are kept, in the background."""
    gevent.spawn(_adopt_forever, app, app.extensions[EXTENSION])


def follow(service: Services, task: Task, begin: Callable[[], RunningTask]) -> None:
    """Run a task to its end in the background of this process, which owns it."""
    gevent.spawn(_follow, service, task, begin, current_trace.get())


def _follow(service: Services, task: Task, begin: Callable[[], RunningTask], trace_id: str = "") -> None:
    current_request.set(task.number)
    current_credential.set(task.credential)
    # That of a generation which its request has begun.
    current_trace.set(trace_id)
    try:
        end = _run(service, task, begin)
        record_trace(service, task.task_id)
        record_end(end)
        source_files.remove_ended(service, task.task_id)
    finally:
        service.tasks.unfollow(task.task_id)


def _run(service: Services, task: Task, begin: Callable[[], RunningTask]) -> Callable[[], None]:
    """Generate a task and return the write that records how it went; it holds no image."""
    store, name = service.tasks, task.task_id
    wait = None
    end: Callable[[], None]
    try:
        end = _generate(service, *begin())
    except RETRIED as error:
        # The next place in a full queue is for whoever asks in time.
        grows, asked = not isinstance(error, QueueFull), error.retry_after or RETRY_SECONDS
        if grows:
            # What is expected in an hour may be there sooner, and nothing else would tell this task.
            asked = min(asked, MAX_PAUSE_SECONDS)
        # Without the error, whose frames have the images that could not be saved.
        wait = functools.partial(_wait, service, name, error.sentence, asked, grows=grows)
    except ServiceError as error:
        end = functools.partial(store.fail, name, code=error.code, sentence=error.sentence)
    except ValueError:
        logger.exception("Task %s cannot be read.", name)
        end = functools.partial(store.fail, name, code="internal_error", sentence="The stored task cannot be read.")
    except Exception:
        logger.exception("The task failed.")
        sentence = "Internal server error; see the server's log."
        end = functools.partial(store.fail, name, code="internal_error", sentence=sentence)
    if wait is not None:
        wait()
        return functools.partial(store.release, name)
    store.waits.end(name)
    return end


def _generate(service: Services, task: Task, updates: Generator[Update]) -> Callable[[], None]:
    """Follow a generation and return the write that records its end; raises the ServiceError that prevented it."""
    store, name = service.tasks, task.task_id
    end: Callable[[], None] = functools.partial(store.release, name)
    for update in updates:
        if isinstance(update, Started):
            record_trace(service, name)
            record_if_possible(functools.partial(store.start, name))
        elif isinstance(update, GenerationResult):
            try:
                completion = _completion(service, task, update)
            except Exception as error:
                # It is measured and traced as failed, or not at all where another attempt follows.
                updates.throw(error)
                raise
            end = functools.partial(store.complete, name, **completion)
    return end


def _wait(service: Services, task_id: str, reason: str, asked: float, *, grows: bool) -> None:
    """Wait before the next attempt; a change of the server's state ends what is more than was asked for."""
    wait = service.tasks.waits.extend(task_id, reason, asked, grows=grows)
    if wait.is_new:
        logger.info("The task waits: %s", reason)
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
