"""A stand-in without a machine does not count as an engine, and the first request asks for a machine."""

import asyncio
import math
from unittest.mock import AsyncMock

import pytest

from imageserver.dispatch.dispatcher import Dispatcher
from imageserver.dispatch.seats.far_seats import IDLE_SECONDS, FarSeats
from imageserver.dispatch.seats.seat import OFFERED, REQUESTED, Seat
from imageserver.errors import OutOfMemory
from imageserver.protocol.messages import ModelRequest, Submit
from imageserver.settings import Settings
from tests.support.dispatch_harness import Harness, Recorder, ScriptedEngine
from tests.support.factories import generation


def add_stand_in(harness, wanted=OFFERED):
    """Let one more seat of a harness wait for a machine."""
    engine = ScriptedEngine(room=1)
    engine.state, engine.phase, engine.ready, engine.reason = "loading", "waiting", None, "No machine is free."
    harness.dispatcher.seats.add(Seat("machine 1", engine, wanted))
    return engine


async def test_a_resting_engine_is_woken_though_a_stand_in_waits_for_a_machine(harness):
    add_stand_in(harness)
    harness.engine.state, harness.engine.is_resting = "idle", True
    harness.submit(1)
    assert harness.engine.woken > 0


async def test_a_far_engine_is_not_woken_where_another_waits_for_the_same_machine():
    harness = Harness(loaded=False)
    harness.dispatcher.seats.remove(harness.seat)
    add_stand_in(harness)
    resting = add_stand_in(harness)
    resting.state, resting.is_resting = "idle", True
    harness.submit(1)
    assert resting.woken == 0
    harness.submit(2)
    assert resting.woken > 0, "two jobs need two engines"


async def test_jobs_end_where_the_last_engine_has_failed_unless_a_machine_is_asked_for():
    for wanted, codes in ((REQUESTED, []), (OFFERED, ["engine_unavailable"])):
        harness = Harness()
        add_stand_in(harness, wanted)
        harness.engine.state = "loading"
        harness.submit(1)
        harness.engine.state = "failed"
        harness.dispatcher.engine_changed()
        assert harness.worker.of(1) == codes
        assert (harness.dispatcher.snapshot().state == "degraded") == bool(codes)


async def test_jobs_wait_where_all_that_there_is_are_stand_ins_without_a_machine(harness):
    harness.dispatcher.seats.remove(harness.seat)
    add_stand_in(harness)
    harness.submit(1)
    snapshot = harness.dispatcher.snapshot()
    assert (harness.worker.of(1), snapshot.state, snapshot.reason) == ([], "loading", "No machine is free.")


async def test_a_download_refuses_jobs_though_a_stand_in_waits_for_a_machine(harness):
    add_stand_in(harness)
    harness.engine.state, harness.engine.phase = "loading", "downloading"
    harness.submit(1)
    assert harness.worker.of(1) == ["loading"]


async def test_what_fits_on_no_device_is_refused_though_a_stand_in_waits_for_a_machine(harness, monkeypatch):
    add_stand_in(harness)
    estimator = harness.dispatcher._estimator
    monkeypatch.setattr(estimator, "obstacle", lambda seat, _: "It is too large." if seat is harness.seat else None)
    with pytest.raises(OutOfMemory):
        estimator.refuse_if_too_large(generation(model="scripted"))


async def test_a_request_for_another_model_waits_for_a_machine_and_is_loaded_there(harness):
    harness.dispatcher.seats.remove(harness.seat)
    engine = add_stand_in(harness, REQUESTED)
    [seat] = harness.dispatcher.seats
    harness.request_model(1, load="other", prompt="a red circle")
    engine.state = "restarting"
    harness.dispatcher.engine_lost(seat, silent=False)
    assert harness.worker.of(1) == [], "a stand-in that starts again held nothing"
    engine.state, engine.machine = "ready", "10.0.0.7 cpu"
    harness.load("scripted", seat=seat)
    harness.load("scripted", "other", job=engine.sent[-1].job, seat=seat)
    [answer] = harness.worker.responses
    assert answer.info.name == "other"


@pytest.mark.parametrize(
    "wanted", [{"prompt": "a red circle"}, {"prompt": "", "load": "other"}, {"load": "other"}, None]
)
async def test_the_first_request_asks_for_a_machine_where_there_is_no_engine(wanted):
    settings = Settings(_env_file=None, cluster="head", scale_up_wait=10)
    dispatcher, now = Dispatcher(settings), 1000.0
    engines = []

    def new_engine(_):
        engines.append(ScriptedEngine(room=1))
        engines[-1].state, engines[-1].ready = "loading", None
        engines[-1].supervise = AsyncMock()
        return engines[-1]

    far = FarSeats(settings, new_engine, dispatcher, lambda: now)
    far.advance()
    assert dispatcher.expected_wait == 0
    if wanted is None:
        dispatcher.submit(Submit(job=1, generation=generation(), timeout=600.0), Recorder())
    else:
        dispatcher.request_model(ModelRequest(job=1, **wanted), Recorder())
    assert dispatcher.expected_wait == math.inf
    for _ in range(int(2 * IDLE_SECONDS)):
        now += 1.0
        far.advance()
        await asyncio.sleep(0)
    assert len(dispatcher.seats) == len(engines) == 1, "it is asked for until it comes, while something waits"
    engines[0].machine = "10.0.0.7 cpu"
    assert math.isfinite(dispatcher.expected_wait), "its engine is coming"
    await dispatcher.stop()
