"""A load may take as long as it likes, but not without doing anything."""

import pytest

from imageserver.dispatch.seats.signs_of_life.load_watchdog import LoadWatchdog
from imageserver.dispatch.seats.signs_of_life.process_activity import ProcessActivity
from imageserver.dispatch.silence import POLL_SECONDS

LIMIT = 300.0


class WatchedLoad:
    """A watchdog whose process computes and reads at a pace, in seconds that the test lets pass."""

    def __init__(self, cpu_share=0.0, bytes_per_second=0.0, growth=0.0):
        self.now = 1000.0
        self.cpu_share, self.bytes_per_second, self.growth = cpu_share, bytes_per_second, growth
        self.watchdog = LoadWatchdog(LIMIT, lambda: self.now, self.measure)
        self.watchdog.begin(1)

    def measure(self, pid):
        return ProcessActivity(
            self.now * self.cpu_share, int(self.now * self.bytes_per_second), 2**40 + int(self.now * self.growth)
        )

    def stalls_within(self, seconds, every=POLL_SECONDS):
        end = self.now + seconds
        while self.now < end:
            self.now += every
            if self.watchdog.is_stalled():
                return True
        return False


@pytest.mark.parametrize("progress", [{"cpu_share": 0.05}, {"bytes_per_second": 10_000}, {"growth": 10_000}])
def test_a_load_that_computes_or_reads_or_grows_is_never_taken_for_a_hung_one(progress):
    assert not WatchedLoad(**progress).stalls_within(100 * LIMIT)


def test_a_load_that_does_nothing_stalls_after_the_limit_also_if_its_threads_still_tick():
    load = WatchedLoad(cpu_share=0.002, bytes_per_second=10, growth=10)
    assert not load.stalls_within(LIMIT)
    assert load.stalls_within(2)


def test_a_load_that_is_only_swapped_out_stalls():
    assert WatchedLoad(growth=-10_000).stalls_within(1.2 * LIMIT)


def test_a_message_of_the_engine_is_progress_too():
    load = WatchedLoad()
    for _ in range(10):
        assert not load.stalls_within(LIMIT - 1)
        load.watchdog.record_sign()
    assert load.stalls_within(LIMIT + 1)


def test_a_load_that_computed_for_an_hour_and_then_hangs_stalls():
    load = WatchedLoad(cpu_share=1.0)
    assert not load.stalls_within(3600)
    load.cpu_share = 0.0
    assert load.stalls_within(LIMIT * 1.2)


def test_the_time_in_which_the_machine_slept_does_not_count():
    load = WatchedLoad()
    assert not load.stalls_within(LIMIT * 10, every=LIMIT)
