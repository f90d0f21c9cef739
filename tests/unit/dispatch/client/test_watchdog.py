"""The dispatcher's watchdog counts silence, and only the time in which it could have heard something."""

import pytest

from imageserver.dispatch.client.watchdog import DispatcherWatchdog
from imageserver.dispatch.silence import POLL_SECONDS


class WatchedConnection:
    """A watchdog on a connection, under a clock that stands still, and what it has found."""

    def __init__(self, monkeypatch):
        self.now, self.found = 1000.0, []
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        self.watchdog = DispatcherWatchdog(lambda: self.found.append("silent"), lambda: self.found.append("dead"))
        self.watchdog.connected()

    def wait(self, seconds, step=POLL_SECONDS):
        for _ in range(round(seconds / step)):
            self.now += step
            self.watchdog.check()


@pytest.fixture
def watched(monkeypatch):
    return WatchedConnection(monkeypatch)


def test_silence_is_noticed_within_5_seconds_and_ended_within_30(watched):
    watched.wait(3)
    assert not watched.watchdog.is_silent
    watched.wait(2)
    assert (watched.watchdog.is_silent, watched.found) == (True, ["silent"])
    watched.wait(25)
    assert "dead" in watched.found


def test_a_sign_of_life_ends_it(watched):
    for _ in range(20):
        watched.wait(3)
        watched.watchdog.record_sign()
    assert watched.found == []


def test_a_worker_that_was_stopped_itself_takes_nobody_for_silent(watched):
    watched.wait(3600, step=1800)
    assert watched.found == []


def test_without_a_connection_nobody_is_silent(watched):
    watched.wait(10)
    watched.watchdog.disconnected()
    assert not watched.watchdog.is_silent
    watched.wait(60)
    assert watched.found == ["silent"]
