"""How long a function on a greenlet keeps others waiting, in seconds of the processor: other load does not count."""

import time
from collections.abc import Callable
from typing import Any

import gevent


def cpu_seconds(function: Callable[[], Any]) -> float:
    """Return the processor's time of a call."""
    began = time.thread_time()
    function()
    return time.thread_time() - began


def longest_block(function: Callable[[], Any]) -> float:
    """Return the longest time for which another greenlet did not run during a call."""
    runs = [time.thread_time()]

    def run_beside() -> None:
        while True:
            runs.append(time.thread_time())
            gevent.sleep(1e-5)

    other = gevent.spawn(run_beside)
    gevent.sleep(1e-3)
    runs.append(time.thread_time())
    first = len(runs)
    function()
    runs.append(time.thread_time())
    other.kill()
    return max(after - before for before, after in zip(runs[first - 1 :], runs[first:], strict=False))
