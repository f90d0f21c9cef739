"""Requests share a bounded memory: in their order, without those that have left."""

import socket

import gevent
import pytest

from imageserver.api.wsgi.disconnect import SOCKET_KEY
from imageserver.api.wsgi.memory_budget import MemoryBudget
from imageserver.errors import Cancelled, DeadlineExceeded


@pytest.fixture
def requests_of():
    """Start requests of given sizes that hold their memory until they are told to end; return what happened."""

    class Requests:
        def __init__(self, max_bytes):
            self.budget, self.seen, self.ends = MemoryBudget(max_bytes), [], {}

        def start(self, name, size, timeout=10.0, environ=None):
            self.ends[name] = gevent.event.Event()

            def hold():
                try:
                    with self.budget.reserve(size, timeout, environ or {}):
                        self.seen.append(name)
                        self.ends[name].wait()
                except (Cancelled, DeadlineExceeded) as error:
                    self.seen.append((name, error.code))

            gevent.spawn(hold)
            gevent.sleep(0.01)

        def end(self, *names):
            for name in names:
                self.ends[name].set()
                gevent.sleep(0.01)

    return Requests


def test_those_that_find_room_do_not_wait(requests_of):
    requests = requests_of(100)
    requests.start("a", 60)
    requests.start("b", 40)
    assert requests.seen == ["a", "b"]


def test_a_large_one_is_not_overtaken_by_small_ones(requests_of):
    requests = requests_of(100)
    requests.start("a", 60)
    requests.start("large", 70)
    requests.start("small", 10)
    assert requests.seen == ["a"]
    requests.end("a")
    assert requests.seen == ["a", "large", "small"]


def test_one_that_needs_more_than_there_is_gets_all_of_it_for_itself(requests_of):
    requests = requests_of(100)
    requests.start("a", 1)
    requests.start("huge", 1000)
    requests.start("b", 1)
    assert requests.seen == ["a"]
    requests.end("a")
    assert requests.seen == ["a", "huge"]
    requests.end("huge")
    assert requests.seen == ["a", "huge", "b"]


def test_one_whose_time_has_passed_is_told_the_setting_and_leaves_its_place(requests_of):
    requests = requests_of(100)
    requests.start("a", 100)
    requests.start("late", 100, timeout=0.05)
    requests.start("b", 10)
    gevent.sleep(0.1)
    assert requests.seen == ["a", ("late", "deadline_exceeded")]
    requests.end("a")
    assert requests.seen[2:] == ["b"]
    requests.start("c", 90)
    assert requests.seen[3:] == ["c"]


def test_one_whose_client_has_left_is_skipped(requests_of):
    ours, clients = socket.socketpair()
    with ours, clients:
        requests = requests_of(100)
        requests.start("a", 100)
        requests.start("gone", 100, environ={SOCKET_KEY: ours})
        clients.close()
        gevent.sleep(0.05)
        assert requests.seen == ["a", ("gone", "cancelled")]
        requests.end("a")
        requests.start("b", 100)
        assert requests.seen[2:] == ["b"]


def test_memory_comes_back_after_a_failure():
    budget = MemoryBudget(100)
    for _ in range(3):
        with pytest.raises(ValueError, match="spoilt"), budget.reserve(100, 0.01, {}):
            raise ValueError("spoilt")
