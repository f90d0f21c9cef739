"""Whoever is refused while a model loads is told how long that still takes, as far as its pace is known."""

import asyncio

import pytest

from imageserver.dispatch.seats.load_pace import MAX_SECONDS, LoadPace
from imageserver.dispatch.seats.seat import SeatReports
from imageserver.protocol.messages import LoraRequest
from tests.support.dispatch_harness import Harness, Recorder


async def report(harness, phase, fraction, seconds=0.0):
    """Let a first load be so far, so many seconds later."""
    await asyncio.sleep(seconds)
    harness.engine.state, harness.engine.phase, harness.engine.fraction = "loading", phase, fraction
    SeatReports(harness.seat, harness.dispatcher).engine_changed()


def told_pause(harness):
    """Return the one Retry-After of every question that a loading engine cannot serve."""
    worker, dispatcher = Recorder(), harness.dispatcher
    dispatcher.request_loras(LoraRequest(job=1, load="night"), worker)
    dispatcher.request_loras(LoraRequest(job=2, fetch="night"), worker)
    harness.request_model(3, worker, load="other")
    assert [answer.code for answer in worker.responses] == ["loading"] * 3
    pauses = {answer.retry_after for answer in worker.responses}
    if harness.engine.phase == "downloading":
        harness.submit(4, worker=worker)
        pauses.add(worker.responses[-1].retry_after)
    [pause] = pauses | {dispatcher.snapshot().retry_after}
    return pause


@pytest.mark.parametrize(("phase", "least"), [("starting", 2), ("loading", 2), ("downloading", 30)])
async def test_until_the_pace_of_a_load_is_known_the_phase_tells(phase, least):
    harness = Harness(loaded=False)
    await report(harness, phase, None)
    assert told_pause(harness) == least


async def test_a_download_of_an_hour_is_said_to_take_an_hour():
    harness = Harness(loaded=False)
    await report(harness, "downloading", 0.5)
    await report(harness, "downloading", 0.51, seconds=60)
    assert told_pause(harness) == pytest.approx(49 * 60)
    await report(harness, "downloading", 0.99, seconds=48 * 60)
    assert told_pause(harness) == pytest.approx(60, abs=3)
    await report(harness, "loading", 0.0)
    assert told_pause(harness) == 2


async def test_the_pace_is_that_of_this_phase_of_this_load():
    pace = LoadPace()
    pace.observe("downloading", 0.5)
    await asyncio.sleep(10)
    pace.observe("downloading", 0.6)
    assert pace.seconds_left == pytest.approx(40)
    pace.observe("downloading", None)
    assert pace.seconds_left == pytest.approx(40), "the hub is asked again"
    pace.observe("loading", None)
    assert pace.seconds_left is None
    pace.observe("downloading", 0.1)
    assert pace.seconds_left is None, "the next engine has begun"
    await asyncio.sleep(3600)
    pace.observe("downloading", 0.102)
    assert pace.seconds_left == MAX_SECONDS
    pace.observe("downloading", 0.0)
    assert pace.seconds_left is None, "another file, or all of them again"


async def test_an_engine_that_has_failed_is_not_said_to_load():
    harness = Harness(loaded=False)
    harness.engine.state, harness.engine.reason = "failed", "The card is broken."
    harness.dispatcher.request_loras(LoraRequest(job=1, load="night"), harness.worker)
    [refusal] = harness.worker.responses
    assert (refusal.code, refusal.sentence, refusal.retry_after) == ("engine_unavailable", "The card is broken.", None)


async def test_a_question_beside_a_failed_engine_is_answered_by_the_one_that_loads():
    harness = Harness(loaded=False, seats=2)
    harness.engines[1].state, harness.engines[1].reason = "loading", "It loads."
    harness.engine.state = "failed"
    harness.dispatcher.request_loras(LoraRequest(job=1, load="night"), harness.worker)
    [refusal] = harness.worker.responses
    assert (refusal.code, refusal.sentence) == ("loading", "The model is not loaded yet: It loads.")
