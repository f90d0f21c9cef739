"""A far engine that is woken looks for a machine as things stand then."""

from imageserver.dispatch.seats.far.retry_pauses import FIRST_PAUSE_SECONDS
from imageserver.dispatch.seats.seat import OFFERED, REQUESTED
from tests.support.recording_owner import RecordingOwner


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


async def test_an_engine_that_is_woken_passes_over_the_machines_that_have_failed_by_then():
    owner = RecordingOwner()
    await owner.advance()
    resting = await owner.place("10.0.0.7 cpu")
    await owner.advance()
    await owner.fail("10.0.0.8 cpu")
    await owner.rest(resting)
    await owner.wake(resting)
    assert (owner.wanted[-1], owner.avoided[-1]) == (OFFERED, "10.0.0.8 cpu")
    await owner.advance(FIRST_PAUSE_SECONDS / 2)
    assert resting in owner.seats
    await owner.advance(FIRST_PAUSE_SECONDS)
    assert resting not in owner.seats, "it would keep the machine that may be tried again"
    assert owner.avoided[-1] == ""


async def test_an_engine_that_is_woken_goes_on_looking_though_another_one_fails_meanwhile():
    owner = RecordingOwner()
    await owner.advance()
    woken = await owner.place("10.0.0.7 cpu")
    await owner.advance()
    other = await owner.place("10.0.0.8 cpu")
    await owner.rest(woken)
    await owner.wake(woken)
    other.engine.state = "failed"
    await owner.advance(5)
    assert woken in owner.seats


async def test_an_engine_that_is_woken_asks_for_a_machine_only_where_that_starts_not_too_many():
    owner = RecordingOwner(scale_up_wait=10, max_engines=2)
    owner.expected_wait = 11
    await owner.advance(5)
    first = await owner.place("10.0.0.7 cpu")
    await owner.advance(5)
    await owner.fail("10.0.0.8 cpu")
    await owner.advance(5)
    second = await owner.place("10.0.0.9 cpu")
    assert owner.wanted == [REQUESTED, REQUESTED, OFFERED]
    await owner.rest(first)
    await owner.wake(first)
    assert owner.wanted[-1] == OFFERED, "three machines are used or passed over"
    first.engine.machine, first.engine.state, first.engine.is_resting = "10.0.0.7 cpu", "ready", False
    await owner.advance(FIRST_PAUSE_SECONDS)
    await owner.rest(second)
    await owner.wake(second)
    assert owner.wanted[-1] == REQUESTED, "it had waited for an offer only while the pause lasted"
