"""A retry takes the attempt that it repeats, and nobody else's."""

import socket
import time
from contextlib import suppress

import gevent
import pytest

from imageserver.api.wsgi import attempts
from imageserver.api.wsgi.attempts import Attempts, name_of
from imageserver.api.wsgi.disconnect import SOCKET_KEY


@pytest.fixture
def known(tmp_path):
    return Attempts(tmp_path)


def test_every_first_attempt_is_another_one(known):
    assert known.begin("a") != known.begin("a")


def test_a_retry_takes_the_attempt_that_ended_and_not_its_neighbours(known):
    first, second, third = (known.begin("a") for _ in range(3))
    known.end(second)
    assert known.resume("a") == second
    known.end(first)
    assert known.resume("a") == first
    assert third not in (first, second)


def test_one_that_is_taken_is_not_taken_again_while_another_is_free(known):
    first, second = known.begin("a"), known.begin("a")
    known.end(first)
    known.end(second)
    assert {known.resume("a"), known.resume("a")} == {first, second}


def test_a_retry_whose_first_attempt_still_seems_under_way_takes_that(known):
    first = known.begin("a")
    assert known.resume("a") == first


def test_what_was_answered_is_never_repeated(known):
    first = known.begin("a")
    known.forget(first)
    assert known.resume("a") != first


def test_another_request_is_another_attempt(known):
    first = known.begin("a")
    known.end(first)
    assert known.resume("b") != first


def test_after_some_minutes_nobody_comes_back(known, monkeypatch):
    first = known.begin("a")
    known.end(first)
    later = time.time() + attempts.REMEMBERED + 1
    monkeypatch.setattr(attempts.time, "time", lambda: later)
    assert known.resume("a") != first


def test_an_attempt_under_way_is_remembered_for_as_long_as_a_request_may_take(known, monkeypatch):
    first = known.begin("a")
    later = time.time() + attempts.REMEMBERED + 3600
    monkeypatch.setattr(attempts.time, "time", lambda: later)
    assert known.resume("a") == first


def test_all_workers_share_the_attempts(tmp_path):
    first = Attempts(tmp_path).begin("a")
    assert Attempts(tmp_path).resume("a") == first


def test_a_table_that_cannot_be_written_costs_no_request_its_answer(known, caplog):
    known._database.execute("DROP TABLE attempts")
    assert known.begin("a") != known.resume("a")
    assert "cannot be remembered" in caplog.text


class TestUnderWay:
    def test_an_answer_ends_the_matter(self, known):
        first = known.begin("a")
        with known.under_way(first, {}):
            pass
        assert known.resume("a") != first

    def test_a_refusal_may_be_repeated(self, known):
        first, neighbour = known.begin("a"), known.begin("a")
        with suppress(ValueError), known.under_way(first, {}):
            raise ValueError
        assert known.resume("a") == first != neighbour

    def test_a_client_that_left_finds_its_attempt_though_it_was_answered_meanwhile(self, known):
        here, there = socket.socketpair()
        first = known.begin("a")
        with known.under_way(first, {SOCKET_KEY: here}):
            there.close()
            gevent.sleep(0.05)
        here.close()
        assert known.resume("a") == first


def test_a_request_has_the_name_of_its_repetitions_alone():
    name = name_of("me", "/a", {"prompt": "x"}, b"image", None)
    assert name == name_of("me", "/a", {"prompt": "x"}, b"image", None)
    others = [
        name_of("you", "/a", {"prompt": "x"}, b"image", None),
        name_of("me", "/b", {"prompt": "x"}, b"image", None),
        name_of("me", "/a", {"prompt": "y"}, b"image", None),
        name_of("me", "/a", {"prompt": "x"}, b"another", None),
        name_of("me", "/a", {"prompt": "x"}, b"image", b"mask"),
        name_of("me", "/a", {"prompt": "\ud800", "big": 2**70}),
    ]
    assert len({name, *others}) == 7
