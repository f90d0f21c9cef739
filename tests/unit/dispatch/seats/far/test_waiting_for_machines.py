"""A stand-in without a machine does not count as an engine, and the first request asks for a machine."""

import math

import pytest

from imageserver.dispatch.seats.far.far_seats import IDLE_SECONDS
from imageserver.dispatch.seats.seat import OFFERED, REQUESTED, Seat
from imageserver.errors import OutOfMemory
from imageserver.protocol.messages import REFUSED, ModelRequest
from tests.support.dispatch_harness import Harness, Recorder, ScriptedEngine
from tests.support.factories import generation
from tests.support.scaling_cluster import ScalingCluster


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


@pytest.mark.parametrize(
    ("wanted", "settings", "codes"),
    [
        (REQUESTED, {"scale_up_wait": 10, "max_engines": 2}, []),
        (OFFERED, {"scale_up_wait": 10, "max_engines": 2}, ["engine_unavailable"]),
        (OFFERED, {}, ["engine_unavailable"]),
    ],
)
async def test_jobs_end_where_the_last_engine_has_failed_unless_the_wait_asks_for_a_machine(wanted, settings, codes):
    settings |= {"cluster": "head"}
    harness = Harness(**settings)
    add_stand_in(harness, wanted)
    harness.engine.state = "loading"
    harness.submit(1)
    harness.engine.state, harness.engine.reason = "failed", "The card is broken."
    harness.dispatcher.engine_changed()
    assert harness.worker.of(1) == codes
    snapshot = harness.dispatcher.snapshot()
    told = ("degraded", "The card is broken.") if codes else ("loading", "No machine is free.")
    assert (snapshot.state, snapshot.reason) == told


@pytest.mark.parametrize("settings", [{"scale_up_wait": 10, "max_engines": 1}, {"min_engines": 1}])
@pytest.mark.parametrize("is_woken", [False, True])
async def test_requests_get_503_with_the_reason_where_the_machine_that_was_started_for_them_is_refused(
    settings, is_woken
):
    harness = Harness(loaded=False, **settings)
    harness.dispatcher.seats.remove(harness.seat)
    engine = add_stand_in(harness, REQUESTED)
    engine.is_resting = is_woken
    harness.submit(1)
    harness.request_model(2, load="other", prompt="a red circle")
    harness.request_model(3, prompt="a blue circle")
    assert harness.worker.responses == []
    engine.phase, engine.reason = REFUSED, "The machine 10.0.0.7 has another Python."
    harness.dispatcher.engine_changed()
    harness.submit(4)
    harness.request_model(5, load="other")
    answers = {answer.job: (answer.code, answer.sentence) for answer in harness.worker.responses}
    assert answers.pop(5) == ("loading", f"The first model is not loaded yet: {engine.reason}")
    assert answers == dict.fromkeys([1, 2, 3, 4], ("engine_unavailable", engine.reason))
    snapshot = harness.dispatcher.snapshot()
    assert (snapshot.state, snapshot.reason, snapshot.seats[0].state) == ("degraded", engine.reason, "degraded")
    assert harness.dispatcher.expected_wait == 0, "nobody waits, so the machine is given back"


async def test_jobs_wait_again_once_the_refused_machine_is_gone_and_another_one_is_asked_for():
    harness = Harness(loaded=False, scale_up_wait=10, max_engines=1)
    harness.dispatcher.seats.remove(harness.seat)
    engine = add_stand_in(harness, REQUESTED)
    engine.phase = REFUSED
    harness.submit(1)
    engine.phase = "waiting"
    harness.submit(2)
    assert (harness.worker.of(1), harness.worker.of(2)) == (["engine_unavailable"], [])


@pytest.mark.parametrize("other", ["works", "rests", "asks"])
async def test_jobs_wait_for_another_engine_where_a_refused_machine_is_not_the_only_one(other):
    harness = Harness(scale_up_wait=10, max_engines=2)
    refused = add_stand_in(harness, REQUESTED)
    refused.phase = REFUSED
    waited_for = harness.engine
    if other == "asks":
        harness.dispatcher.seats.remove(harness.seat)
        add_stand_in(harness, REQUESTED)
    elif other == "rests":
        harness.dispatcher.seats.remove(harness.seat)
        waited_for = add_stand_in(harness, REQUESTED)
        waited_for.state, waited_for.is_resting = "idle", True
    harness.submit(1)
    harness.dispatcher.engine_changed()
    assert harness.worker.of(1) == []
    assert (waited_for.woken > 0) == (other == "rests"), "one that was refused is not on its way"


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
    cluster = ScalingCluster(scale_up_wait=10)
    dispatcher = cluster.dispatcher
    assert dispatcher.expected_wait == 0
    if wanted is None:
        cluster.submit(1)
    else:
        dispatcher.request_model(ModelRequest(job=1, **wanted), Recorder())
    assert dispatcher.expected_wait == math.inf
    await cluster.advance(2 * IDLE_SECONDS)
    assert len(dispatcher.seats) == len(cluster.engines) == 1, "it is asked for until it comes, while something waits"
    cluster.engines[0].machine = "10.0.0.7 cpu"
    assert math.isfinite(dispatcher.expected_wait), "its engine is coming"
    await dispatcher.stop()
