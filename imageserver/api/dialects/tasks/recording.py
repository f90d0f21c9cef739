"""Record how a task goes, and how it ended even if the state database is locked or its disk is full."""

import functools
import logging
from collections.abc import Callable

import gevent

from imageserver.api.services import Services
from imageserver.errors import StorageFull
from imageserver.telemetry.logs import current_trace

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.25, 5.0


def record_if_possible(write: Callable[[], None]) -> None:
    """Record what the task can do without, such as its progress."""
    try:
        write()
    except StorageFull as error:
        logger.warning("The progress of the task is not stored: %s", error.sentence)


def record_trace(service: Services, task_id: str) -> None:
    """Record the current trace as that of the task's webhook, whose lines in the log may come after a restart."""
    if trace_id := current_trace.get():
        record_if_possible(functools.partial(service.webhook_store.set_trace, task_id, trace_id))


def record_end(write: Callable[[], None]) -> None:
    """Record the end of a task, and try until it is stored.

    Nobody else knows of it. No more of them can wait than tasks were accepted, and meanwhile none is: that cannot be
    stored either.
    """
    pause, has_failed = FIRST_PAUSE_SECONDS, False
    while True:
        try:
            write()
        except StorageFull as error:
            if not has_failed:
                logger.error("The end of the task is stored later: %s", error.sentence)
            has_failed = True
            gevent.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
        else:
            break
    if has_failed:
        logger.info("The end of the task is stored.")
