"""Native threads run side by side only once all that they import is there."""

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
