"""Machines that are asked for and turn out bad do not pile up, and are given back before good ones."""

import itertools

import pytest

from imageserver.dispatch.seats.far.far_seats import HOLD_SECONDS, IDLE_SECONDS
from imageserver.dispatch.seats.far.retry_pauses import FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS
from imageserver.dispatch.seats.seat import REQUESTED
from imageserver.protocol.messages import REFUSED
from tests.support.recording_owner import RecordingOwner


async def fail_for(owner, seconds):
    """Let every machine that is asked for be a new one on which the engine fails; return when each was asked for."""
    begun, moments = owner.now, []
    while owner.now < begun + seconds:
        await owner.advance()
        for seat in [seat for seat in owner.seats if not seat.engine.machine and not seat.is_spare]:
            moments.append(owner.now)
            seat.engine.machine, seat.engine.state = f"10.0.1.{len(owner.wanted)} cpu", "failed"
    return moments


@pytest.mark.parametrize("settings", [{"scale_up_wait": 10, "max_engines": 2}, {"min_engines": 2}])
async def test_the_next_machine_is_asked_for_later_and_later_while_all_are_bad(settings):
    owner = RecordingOwner(**settings)
    owner.expected_wait = 11
    moments = await fail_for(owner, 3600)
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert pauses[0] < FIRST_PAUSE_SECONDS, "as many as there may be are asked for without a pause"
    grown = [pause for pause in pauses[1:] if pause > FIRST_PAUSE_SECONDS / 2]
    assert grown[:5] == pytest.approx([30, 60, 120, 240, 480], abs=HOLD_SECONDS + 2)
    assert max(grown) == pytest.approx(MAX_PAUSE_SECONDS, abs=HOLD_SECONDS + 2)
    assert len(moments) <= 2 * 10


async def test_a_good_machine_ends_the_pause_between_bad_ones():
    owner = RecordingOwner(scale_up_wait=10, max_engines=2)
    owner.expected_wait = 11
    await fail_for(owner, 600)
    owner.expected_wait = 0
    await owner.advance(MAX_PAUSE_SECONDS)
    owner.expected_wait = 11
    await owner.advance(HOLD_SECONDS + 1)
    await owner.place("10.0.0.7 cpu")
    await owner.advance(HOLD_SECONDS + 1)
    asked = owner.wanted.count(REQUESTED)
    await owner.fail("10.0.0.8 cpu")
    await owner.advance(FIRST_PAUSE_SECONDS + HOLD_SECONDS + 1)
    assert owner.wanted.count(REQUESTED) == asked + 1


async def test_bad_machines_of_other_days_do_not_add_up():
    owner = RecordingOwner(scale_up_wait=10, max_engines=2)
    for number in range(4):
        owner.expected_wait = 11
        await owner.advance(HOLD_SECONDS + 1)
        await owner.fail(f"10.0.0.{number} cpu")
        owner.expected_wait = 0
        await owner.advance(4000)
    assert owner.wanted == [REQUESTED] * 4


async def test_a_refused_machine_is_given_back_before_a_good_one():
    owner = RecordingOwner(scale_up_wait=10, max_engines=3, min_engines=1)
    await owner.advance()
    good = await owner.place("10.0.0.7 cpu")
    owner.expected_wait = 11
    await owner.advance(HOLD_SECONDS + 1)
    [refused] = [seat for seat in owner.seats if seat is not good]
    owner.expected_wait = 0
    await owner.advance(IDLE_SECONDS / 2)
    refused.engine.phase = REFUSED
    await owner.advance(IDLE_SECONDS)
    assert owner.seats == [good]
