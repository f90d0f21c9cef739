"""Seats on other machines come and go with the machines, and with the wait where that is asked for."""

import asyncio

import pytest

from imageserver.dispatch.seats import far_seats
from imageserver.dispatch.seats.far_seats import FarSeats
from imageserver.dispatch.seats.seat import OFFERED, REQUESTED
from imageserver.settings import Settings
from tests.support.dispatch_harness import Harness, ScriptedEngine


class RecordingOwner:
    """A dispatcher that records which seats were opened and closed."""

    def __init__(self, **settings) -> None:
        self.expected_wait = 0.0
        self.seats, self.wanted, self.avoided = [], [], []
        self.now = 1000.0
        self.far = FarSeats(Settings(_env_file=None, cluster="head", **settings), self.engine, self, lambda: self.now)

    def engine(self, config):
        self.wanted.append(config.environment["CLUSTER_SEAT"])
        self.avoided.append(config.environment["CLUSTER_AVOIDED"])
        engine = ScriptedEngine(room=1)
        engine.state = "loading"
        return engine

    def open_seat(self, seat):
        self.seats.append(seat)

    async def close_seat(self, seat):
        self.seats.remove(seat)

    async def advance(self, seconds=0.0):
        """Let time pass, looking as often as the dispatcher does."""
        for _ in range(1 + int(seconds / far_seats.POLL_SECONDS)):
            self.far.advance()
            await asyncio.sleep(0)
            self.now += far_seats.POLL_SECONDS

    async def place(self, machine):
        """Let the stand-in that waits find a machine, and its engine become ready."""
        seat = next(seat for seat in self.seats if not seat.engine.machine)
        seat.engine.machine, seat.engine.state = machine, "ready"
        await self.advance()
        return seat


async def test_one_stand_in_more_than_there_are_engines_waits_for_the_next_offer():
    owner = RecordingOwner()
    for count in range(3):
        await owner.advance(5)
        assert len(owner.seats) == count + 1
        await owner.place(f"10.0.0.{count} cpu")
    assert [seat.name for seat in owner.seats] == ["10.0.0.0 cpu", "10.0.0.1 cpu", "10.0.0.2 cpu", "machine 4"]
    assert set(owner.wanted) == {OFFERED}


async def test_no_more_engines_are_used_than_max_engines_allows():
    owner = RecordingOwner(max_engines=2)
    await owner.advance()
    for number in range(2):
        await owner.place(f"10.0.0.{number} cpu")
    await owner.advance(60)
    assert len(owner.seats) == 2


async def test_a_seat_whose_machine_is_gone_is_closed_and_one_stand_in_still_waits():
    owner = RecordingOwner()
    await owner.advance()
    lost = await owner.place("10.0.0.7 cpu")
    kept = await owner.place("10.0.0.8 cpu")
    lost.engine.machine, lost.engine.state = "", "loading"
    await owner.advance(2)
    assert lost not in owner.seats
    assert kept in owner.seats
    assert len(owner.seats) == 2


async def test_an_engine_that_rests_is_not_started_again_by_another_stand_in():
    owner = RecordingOwner()
    await owner.advance()
    seat = await owner.place("10.0.0.7 cpu")
    [spare] = [other for other in owner.seats if other is not seat]
    seat.engine.state = "idle"
    await owner.advance(5)
    assert owner.seats == [seat]
    assert spare not in owner.seats


@pytest.mark.parametrize("settings", [{}, {"scale_up_wait": 10, "max_engines": 3}])
async def test_a_machine_whose_engine_failed_is_passed_over_for_a_while_and_another_one_used_at_once(settings):
    owner = RecordingOwner(**settings)
    owner.expected_wait = 11
    await owner.advance(5)
    failed = await owner.place("10.0.0.7 cpu")
    failed.engine.state = "failed"
    await owner.advance(5)
    assert (owner.avoided[-1], len(owner.seats)) == ("10.0.0.7 cpu", 2)
    await owner.place("10.0.0.8 cpu")
    await owner.advance(far_seats.RETRY_SECONDS)
    assert failed not in owner.seats
    assert (owner.avoided[-1], len(owner.seats)) == ("", 2), "it is tried again"


async def test_a_far_engine_that_is_woken_keeps_its_seat_while_it_looks_for_a_machine():
    owner = RecordingOwner()
    await owner.advance()
    seat = await owner.place("10.0.0.7 cpu")
    seat.engine.state, seat.engine.is_resting = "idle", True
    await owner.advance(5)
    seat.engine.state, seat.engine.machine = "loading", ""
    await owner.advance(5)
    assert owner.seats == [seat]
    seat.engine.is_resting = False
    await owner.advance()
    assert seat not in owner.seats, "the engine that was woken has died"


async def test_engines_that_are_always_wanted_are_asked_for_and_not_awaited():
    owner = RecordingOwner(min_engines=2)
    await owner.advance(5)
    assert owner.wanted == [REQUESTED, REQUESTED]


async def test_one_machine_at_a_time_is_asked_for_while_the_wait_is_too_long():
    owner = RecordingOwner(scale_up_wait=10, max_engines=3)
    await owner.advance(60)
    assert owner.seats == []
    owner.expected_wait = 11
    await owner.advance(far_seats.HOLD_SECONDS - 1)
    assert owner.seats == []
    await owner.advance(60)
    assert owner.wanted == [REQUESTED], "the second one is asked for when the first has come"
    await owner.place("10.0.0.7 cpu")
    await owner.advance(60)
    await owner.place("10.0.0.8 cpu")
    await owner.advance(60)
    await owner.place("10.0.0.9 cpu")
    await owner.advance(60)
    assert len(owner.seats) == 3


async def test_a_short_peak_of_the_wait_asks_for_no_machine():
    owner = RecordingOwner(scale_up_wait=10, max_engines=3)
    for _ in range(10):
        owner.expected_wait = 11
        await owner.advance(far_seats.HOLD_SECONDS / 2)
        owner.expected_wait = 9
        await owner.advance()
    assert owner.seats == []


async def test_idle_engines_are_given_back_but_not_those_that_work_or_are_always_wanted():
    owner = RecordingOwner(scale_up_wait=10, max_engines=3, min_engines=1)
    await owner.advance()
    await owner.place("10.0.0.7 cpu")
    owner.expected_wait = 11
    await owner.advance(10)
    busy = await owner.place("10.0.0.8 cpu")
    owner.expected_wait = 0
    busy.engine.is_asked = True
    await owner.advance(far_seats.IDLE_SECONDS - 5)
    assert len(owner.seats) == 2
    await owner.advance(10)
    assert owner.seats == [busy]
    busy.engine.is_asked = False
    await owner.advance(2 * far_seats.IDLE_SECONDS)
    assert owner.seats == [busy]


async def test_a_seat_that_is_closed_gives_its_jobs_to_the_others():
    harness = Harness(seats=2)
    harness.submit(1, 2)
    closed, [job] = harness.seats[1], harness.engines[1].running
    await harness.dispatcher.close_seat(closed)
    assert list(harness.dispatcher.seats) == [harness.seats[0]]
    assert harness.engines[1].has_stopped
    harness.finish(harness.engine.running[0])
    assert harness.engine.running == [job]


async def test_a_job_is_expected_to_wait_only_while_no_seat_is_free():
    harness = Harness(seats=2)
    harness.submit(1)
    harness.progress(1)
    assert (harness.dispatcher.expected_wait, harness.dispatcher.snapshot().seats_free) == (0, 1)
    harness.submit(2, 3)
    snapshot = harness.dispatcher.snapshot()
    assert snapshot.seats_free == 0
    assert snapshot.expected_wait == snapshot.queue_wait
    assert snapshot.expected_wait > 0


async def test_a_seat_has_the_name_of_its_machine_as_soon_as_it_has_one():
    harness = Harness()
    assert harness.seat.name == "card0"
    harness.engine.machine = "10.0.0.7 cuda:1"
    assert harness.seat.name == "10.0.0.7 cuda:1"
