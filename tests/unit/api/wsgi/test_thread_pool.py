"""Native threads run side by side only once all that they import is there."""

import statistics
import sys
import time
from threading import Event

import gevent

from imageserver.api.wsgi.thread_pool import ThreadPool


def test_what_is_to_be_prepared_runs_once_and_before_everything_else():
    done, may_end = [], Event()

    def prepare():
        done.append("began")
        may_end.wait(5)
        done.append("prepared")

    pool = ThreadPool(3, prepare=prepare)
    greenlets = [gevent.spawn(pool.run, done.append, number) for number in range(3)]
    with gevent.Timeout(5):
        while not done:
            gevent.sleep(0.001)
    may_end.set()
    gevent.joinall(greenlets, timeout=5, raise_error=True)
    assert done[:2] == ["began", "prepared"]
    assert sorted(done[2:]) == [0, 1, 2]


def test_a_preparation_that_fails_is_tried_again_by_the_next():
    failures = [ImportError("no memory")]

    def prepare():
        if failures:
            raise failures.pop()

    pool = ThreadPool(1, prepare=prepare)
    first = gevent.spawn(pool.run, len, "abc")
    first.join()
    assert isinstance(first.exception, ImportError)
    assert pool.run(len, "abc") == 3


def test_the_loop_does_not_wait_long_for_a_thread_that_works_in_python():
    pool, stopped, worked = ThreadPool(1), [], [0]

    def work():
        while not stopped:
            sum(range(1000))
            worked[0] += 1

    def seconds_of_a_call():
        """Return how long a call of the system takes beside the thread, which it lets in."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            before, began = worked[0], time.perf_counter()
            time.sleep(0.0001)
            seconds = time.perf_counter() - began
            # On a busy machine the system may let the thread wait instead, and then nobody waits for it.
            if worked[0] > before:
                return seconds
        raise AssertionError("The thread has not worked beside any call.")

    ours, pythons = sys.getswitchinterval(), 0.005
    seconds = {ours: [], pythons: []}
    assert len(seconds) == 2, "or there is nothing to compare"
    worker = gevent.spawn(pool.run, work)
    gevent.sleep(0.01)
    try:
        for _ in range(15):
            for interval, taken in seconds.items():
                sys.setswitchinterval(interval)
                taken.append(seconds_of_a_call())
    finally:
        sys.setswitchinterval(ours)
        stopped.append(True)
        worker.join()
    # A busy machine only adds to it.
    assert min(seconds[ours]) < 0.5 * statistics.median(seconds[pythons])
