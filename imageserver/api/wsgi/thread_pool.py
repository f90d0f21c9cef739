"""Native threads for slow work: encoding a PNG on a greenlet blocked every client for 302 ms, here for 8 ms."""

import sys
from collections.abc import Callable
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from gevent.lock import BoundedSemaphore
from gevent.threadpool import ThreadPool as NativeThreads

P = ParamSpec("P")
R = TypeVar("R")

# Python's own is 0.005.
SWITCH_SECONDS = 0.0005


class ThreadPool:
    """Runs functions on native threads while the calling greenlet waits.

    `prepare` runs before all others, alone: two threads that import the same modules at once may wait for each other
    for ever, because gevent replaces the locks of imports (4 of 75 processes did).
    """

    def __init__(self, size: int, prepare: Callable[[], None] | None = None) -> None:
        self._pool = NativeThreads(size)
        # A thread that works in Python makes the loop wait this long after each call of the system; an answer
        # needs six of them.
        sys.setswitchinterval(SWITCH_SECONDS)
        self._prepare = prepare
        self._preparing = BoundedSemaphore(1)

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return `function(...)`, run on a native thread, or raise its exception."""
        if self._prepare is not None:
            with self._preparing:
                # Another greenlet may have been faster.
                if self._prepare is not None:
                    self._apply(self._prepare)
                    self._prepare = None
        return self._apply(function, *args, **kwargs)

    def _apply(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        context = copy_context()
        results: list[R] = []

        def work() -> Exception | None:
            # Returned, not raised: gevent prints the traceback of every exception in its threads.
            try:
                results.append(context.run(function, *args, **kwargs))
            except Exception as error:
                return error
            return None

        error = self._pool.apply(work)
        if error is not None:
            raise error
        return results[0]
