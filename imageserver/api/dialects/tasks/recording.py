"""Record how a task ended even if the state database is locked or its disk is full: nobody else knows."""

import logging
from collections.abc import Callable

import gevent

from imageserver.errors import StorageFull

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.25, 5.0


def record_if_possible(write: Callable[[], None]) -> None:
    """Record what the task can do without, such as its progress."""
    try:
        write()
    except StorageFull as error:
        logger.warning("The progress of the task is not stored: %s", error.sentence)


def record_end(write: Callable[[], None]) -> None:
    """Record the end of a task, and try until it is stored.

    No more of them can wait than tasks were accepted, and meanwhile none is: that cannot be stored either.
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
