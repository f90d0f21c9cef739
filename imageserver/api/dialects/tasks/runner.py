"""Run tasks in the background of an HTTP worker, and take over those whose worker is gone."""

import logging
import os
from collections.abc import Iterator

import gevent
import msgspec

from imageserver.api import studio
from imageserver.api.orders import Delivery, Fulfilment, News, Order
from imageserver.api.saving import save_all
from imageserver.api.services import Services
from imageserver.dispatch.rendezvous import process_lives
from imageserver.errors import Draining, EngineUnavailable, Loading, QueueFull, ServiceError
from imageserver.generation import Generation, OutputFormat
from imageserver.messages import Started
from imageserver.outputs.task_store import Task
from imageserver.telemetry.logs import current_credential, current_request

logger = logging.getLogger(__name__)

DIALECT = "tasks"
ADOPTION_PAUSE = 1.0
# How long a task that found the queue full, or no engine, waits before it tries again.
RETRY_PAUSE = 1.0


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a task is drawn from, again if need be."""

    generation: Generation
    output_format: OutputFormat
    compression: int | None
    aspect_ratio_name: str | None
    timeout: float
    use_cache: bool


def wanted_of(order: Order) -> str:
    """Return the JSON that `order_of` reads."""
    return msgspec.json.encode(
        Wanted(
            generation=order.generation,
            output_format=order.finish.output_format,
            compression=order.finish.compression,
            aspect_ratio_name=order.finish.aspect_ratio_name,
            timeout=order.timeout,
            use_cache=order.use_cache,
        )
    ).decode()


def order_of(service: Services, task: Task) -> Order:
    """Return the order of a task's present attempt."""
    wanted = msgspec.json.decode(task.wanted, type=Wanted)
    finish = studio.Finish(
        wanted.output_format, wanted.compression, wanted.aspect_ratio_name, service.settings.font_path
    )
    return Order(
        number=task.number,
        generation=wanted.generation,
        finish=finish,
        timeout=wanted.timeout,
        use_cache=wanted.use_cache,
        credential=task.credential,
        dialect=DIALECT,
    )


def start(service: Services) -> None:
    """Look for tasks without an owner from now on."""
    gevent.spawn(_adopt_for_ever, service)


def follow(service: Services, task: Task, order: Order, news: Iterator[News]) -> None:
    """Follow a task in the background of this process, its owner."""
    gevent.spawn(_follow, service, task, order, news)


def _follow(service: Services, task: Task, order: Order, news: Iterator[News]) -> None:
    store = service.tasks
    current_request.set(order.number)
    current_credential.set(order.credential)
    try:
        for event in news:
            if isinstance(event, Started):
                store.start(task.task_id)
            elif isinstance(event, Delivery):
                paths = save_all(service, order, event)
                store.complete(
                    task.task_id,
                    files=[path.name for path in paths],
                    seeds=event.outcome.seeds,
                    processing_time=round(event.outcome.inference_time, 2),
                    warnings=[*task.warnings, *event.outcome.warnings],
                )
    except (Draining, EngineUnavailable, Loading, QueueFull) as error:
        # The server stops or restarts a part of itself, or has no room yet: the task is still wanted.
        logger.info("The task waits: %s", error.sentence)
        if not service.draining:
            gevent.sleep(error.retry_after or RETRY_PAUSE)
        store.release(task.task_id)
    except ServiceError as error:
        store.fail(task.task_id, code=error.code, sentence=error.sentence)
    except Exception:
        logger.exception("The task failed.")
        store.fail(task.task_id, code="internal_error", sentence="The server made a mistake; see its log.")


def _adopt_for_ever(service: Services) -> None:
    while True:
        gevent.sleep(ADOPTION_PAUSE)
        if service.draining or service.snapshot is None:
            continue
        try:
            adopt(service)
        except ServiceError as error:
            logger.error("Tasks cannot be taken over: %s", error.sentence)
        except Exception:
            # Whoever looks for them must go on looking: nobody else draws them.
            logger.exception("Tasks cannot be taken over.")


def adopt(service: Services) -> None:
    """Take over the tasks that nobody follows; raises StorageFull."""
    for task in service.tasks.adopt(os.getpid(), process_lives, service.request_ids.take):
        try:
            order = order_of(service, task)
        except ValueError:
            # One that another version has written must not keep all others from being drawn.
            logger.exception("Task %s cannot be read.", task.task_id)
            service.tasks.fail(task.task_id, code="internal_error", sentence="The task cannot be read any more.")
            continue
        logger.info("Task %s is taken over.", task.task_id)
        follow(service, task, order, Fulfilment(service, order).news())
