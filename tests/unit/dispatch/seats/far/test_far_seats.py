"""Seats on other machines come and go with the machines, and with the wait where that is asked for."""

import pytest

from imageserver.dispatch.seats.far import far_seats
from imageserver.dispatch.seats.far.retry_pauses import FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS
from imageserver.dispatch.seats.seat import OFFERED, REQUESTED
from tests.support.dispatch_harness import Harness
from tests.support.recording_owner import RecordingOwner


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


@pytest.mark.parametrize("settings", [{}, {"scale_up_wait": 10, "max_engines": 1}])
async def test_a_machine_whose_engine_failed_is_passed_over_for_a_while_and_another_one_used_at_once(settings):
    owner = RecordingOwner(**settings)
    owner.expected_wait = 11
    await owner.advance(5)
    failed = await owner.fail("10.0.0.7 cpu")
    await owner.advance(5)
    assert owner.avoided[-1] == "10.0.0.7 cpu"
    other = await owner.place("10.0.0.8 cpu")
    await owner.advance(FIRST_PAUSE_SECONDS)
    assert failed not in owner.seats
    other.engine.machine, other.engine.state = "", "loading"
    await owner.advance(5)
    assert owner.avoided[-1] == "", "it is tried again"


async def test_a_failed_seat_keeps_no_other_machine_from_work_however_often_it_has_failed():
    owner = RecordingOwner(max_engines=1)
    await owner.advance()
    for _ in range(6):
        failed = await owner.fail("10.0.0.7 cpu")
        assert owner.avoided[-1] == "10.0.0.7 cpu"
        # Its sentence is shown for as long as no other engine is there.
        assert failed in owner.seats
        await owner.advance(MAX_PAUSE_SECONDS)
        assert owner.avoided[-1] == ""
    await owner.fail("10.0.0.7 cpu")
    await owner.advance(1)
    good = await owner.place("10.0.0.8 cpu")
    assert good.engine.is_ready
    await owner.advance(2 * MAX_PAUSE_SECONDS)
    assert owner.seats == [good]


@pytest.mark.parametrize(
    ("settings", "end"),
    [
        ({}, "lost"),
        ({"max_engines": 1}, "lost"),
        ({"max_engines": 2}, "failed"),
        ({"scale_up_wait": 10, "max_engines": 2}, "lost"),
        ({"scale_up_wait": 10, "max_engines": 2}, "failed"),
    ],
)
async def test_an_engine_that_is_always_wanted_is_asked_for_again_when_it_has_ended(settings, end):
    owner = RecordingOwner(min_engines=1, **settings)
    await owner.advance()
    seat = await owner.place("10.0.0.7 cpu")
    if end == "failed":
        seat.engine.state = "failed"
    else:
        seat.engine.machine, seat.engine.state = "", "loading"
    await owner.advance(1)
    assert owner.wanted[-1] == REQUESTED
    assert owner.wanted.count(REQUESTED) == 2
    await owner.advance(20)
    assert owner.wanted.count(REQUESTED) == 2
    assert [other.is_spare for other in owner.seats if other is not seat] == [False]


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ({"scale_up_wait": 10, "max_engines": 1}, 1),
        ({"scale_up_wait": 10, "max_engines": 3}, 3),
        ({"scale_up_wait": 10, "max_engines": 3, "min_engines": 1}, 3),
        ({"max_engines": 2, "min_engines": 1}, 2),
        ({"min_engines": 1}, 1),
    ],
)
async def test_machines_whose_engines_fail_count_where_machines_are_asked_for(settings, limit):
    owner = RecordingOwner(**settings)
    owner.expected_wait = 11
    for number in range(limit):
        await owner.advance(4)
        assert owner.wanted[-1] == REQUESTED
        failed = await owner.fail(f"10.0.0.{number} cpu")
    owner.expected_wait = 0
    await owner.advance(4)
    assert (owner.wanted[-1], owner.wanted.count(REQUESTED)) == (OFFERED, limit)
    assert [seat.is_spare for seat in owner.seats if seat.engine.state != "failed"] == [True]
    assert failed in owner.seats, "it says why requests are refused"
    owner.expected_wait = 11
    await owner.advance(FIRST_PAUSE_SECONDS + 4)
    assert owner.wanted[-1] == REQUESTED, "the pause of a machine is over"
    assert [seat.is_spare for seat in owner.seats if seat.engine.state != "failed"] == [False]


async def test_an_engine_that_works_and_one_that_failed_are_as_many_machines_as_two_that_work():
    owner = RecordingOwner(scale_up_wait=10, max_engines=2)
    owner.expected_wait = 11
    await owner.advance(5)
    good = await owner.place("10.0.0.7 cpu")
    await owner.advance(5)
    await owner.fail("10.0.0.8 cpu")
    await owner.advance(5)
    assert owner.wanted == [REQUESTED, REQUESTED, OFFERED]
    good.engine.machine, good.engine.state = "", "loading"
    await owner.advance(5)
    assert owner.wanted[2:] == [OFFERED, REQUESTED], "it waits for no offer where it may ask"


async def test_a_machine_that_failed_is_passed_over_as_long_with_scale_up_wait_when_nobody_waits():
    owner = RecordingOwner(scale_up_wait=10, max_engines=3)
    for _ in range(4):
        owner.expected_wait = 11
        while not any(not seat.engine.machine for seat in owner.seats):
            await owner.advance()
        await owner.advance(1)
        await owner.fail("10.0.0.7 cpu")
        owner.expected_wait = 0
        await owner.advance(1)
        assert owner.seats == [], "a request is not refused because of it, but asks for another machine"
    await owner.advance(far_seats.IDLE_SECONDS + 10)
    owner.expected_wait = 11
    await owner.advance(5)
    assert owner.avoided[-1] == "10.0.0.7 cpu", "the fourth pause lasts 240 s"


@pytest.mark.parametrize("settings", [{}, {"scale_up_wait": 10, "max_engines": 1}, {"min_engines": 1}])
async def test_a_stand_in_that_dies_before_it_has_found_a_machine_is_replaced_however_often(settings):
    owner = RecordingOwner(**settings)
    owner.expected_wait = 11
    for _ in range(6):
        await owner.advance(5)
        waiting = owner.seats[-1]
        waiting.engine.state = "failed"
        await owner.advance(5)
        assert owner.seats[-1] is not waiting, "a seat that has failed neither waits nor asks"
        assert owner.avoided[-1] == ""
        await owner.advance(FIRST_PAUSE_SECONDS)
        assert waiting not in owner.seats


async def test_another_engine_of_the_same_name_does_not_end_the_pause_of_one_that_failed():
    owner = RecordingOwner()
    await owner.advance()
    await owner.place("10.0.0.7 cpu")
    await owner.fail("10.0.0.7 cpu")
    await owner.advance(FIRST_PAUSE_SECONDS / 2)
    assert owner.avoided[-1] == "10.0.0.7 cpu"


async def test_a_model_that_never_fits_a_machine_is_loaded_there_more_and_more_seldom():
    owner = RecordingOwner()
    pauses = []
    await owner.advance()
    for _ in range(7):
        began = owner.now
        await owner.fail("10.0.0.7 cpu")
        while owner.avoided[-1]:
            await owner.advance()
        pauses.append(owner.now - began)
    assert pauses[:5] == pytest.approx([30, 60, 120, 240, 480], abs=2)
    assert pauses[5:] == pytest.approx([MAX_PAUSE_SECONDS] * 2, abs=2)


async def test_an_engine_that_has_its_model_ends_the_pause_of_its_machine():
    owner = RecordingOwner()
    await owner.advance()
    failed = await owner.fail("10.0.0.7 cpu")
    await owner.advance(1)
    repaired = await owner.place("10.0.0.7 cpu")
    await owner.advance(1)
    assert (owner.avoided[-1], failed in owner.seats) == ("", False)
    repaired.engine.state = "failed"
    await owner.advance(1)
    assert owner.avoided[-1] == "10.0.0.7 cpu"
    await owner.advance(FIRST_PAUSE_SECONDS)
    assert owner.avoided[-1] == "", "it begins with a short one again"


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
