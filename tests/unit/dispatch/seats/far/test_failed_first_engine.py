"""Where the first machine's engine has failed, requests wait for one elsewhere that may come, and ask for it."""

import asyncio

import pytest

from imageserver.dispatch.seats.far.far_seats import HOLD_SECONDS
from imageserver.dispatch.seats.far.retry_pauses import FIRST_PAUSE_SECONDS
from imageserver.dispatch.seats.seat import FIND_SECONDS, PATIENCE_SECONDS
from imageserver.dispatch.seats.seat_list import SeatList
from imageserver.protocol.messages import ModelRequest
from tests.support.dispatch_harness import Recorder
from tests.support.scaling_cluster import ScalingCluster


def cluster_with_failed_engine(**settings):
    cluster = ScalingCluster(**settings)
    cluster.fail(cluster.add_near(), "The card is broken.")
    return cluster


def ask_for_model(cluster, job):
    recorder = Recorder()
    cluster.dispatcher.request_model(ModelRequest(job=job, prompt="a red circle", load="scripted"), recorder)
    return recorder


async def test_requests_wait_for_a_machine_that_was_asked_for_but_not_for_ever():
    cluster = cluster_with_failed_engine(min_engines=1)
    [engine] = cluster.engines
    waits, named = cluster.submit(1), ask_for_model(cluster, 2)
    await cluster.advance(PATIENCE_SECONDS - 5)
    later = cluster.submit(3)
    assert (waits.responses, named.responses, cluster.dispatcher.snapshot().state) == ([], [], "degraded")
    await cluster.advance(8)
    [refusal], [other] = waits.responses, named.responses
    assert (refusal.code, refusal.sentence, refusal.retry_after) == (
        "engine_unavailable", "The card is broken.", PATIENCE_SECONDS,
    )  # fmt: skip
    assert (other.code, other.retry_after) == ("engine_unavailable", PATIENCE_SECONDS)
    assert later.responses == [], "its patience began later"
    await cluster.place(engine)
    assert engine.running == [3]
    await cluster.dispatcher.stop()


async def test_what_a_new_request_costs_does_not_grow_with_those_that_wait_beside_failed_engines(monkeypatch):
    cluster, looks = cluster_with_failed_engine(min_engines=1), []
    have_failed = SeatList.have_failed.fget

    def counted(seats):
        looks[-1] += 1
        return have_failed(seats)

    monkeypatch.setattr(SeatList, "have_failed", property(counted))
    for number in range(1, 31):
        looks.append(0)
        cluster.submit(number)
    assert looks == [looks[0]] * 30
    await cluster.dispatcher.stop()


async def test_requests_that_waited_for_a_load_wait_once_more_when_that_has_failed():
    cluster = ScalingCluster(min_engines=1)
    near = cluster.add_near()
    waits = cluster.submit(1)
    await cluster.advance(2 * PATIENCE_SECONDS)
    cluster.fail(near)
    await cluster.advance(PATIENCE_SECONDS / 2)
    assert waits.responses == []
    await cluster.advance(PATIENCE_SECONDS)
    assert waits.of(1) == ["engine_unavailable"]
    await cluster.dispatcher.stop()


async def test_with_engines_that_are_not_tried_again_requests_are_refused_at_once():
    cluster = cluster_with_failed_engine()
    assert len(cluster.engines) == 1, "it waits for an offer, which may never come"
    await asyncio.sleep(1)
    [refusal] = cluster.submit(1).responses
    [other] = ask_for_model(cluster, 2).responses
    assert (refusal.code, refusal.sentence, refusal.retry_after) == ("engine_unavailable", "The card is broken.", None)
    assert (other.code, other.retry_after) == ("engine_unavailable", None)
    await cluster.dispatcher.stop()


async def test_requests_wait_for_a_failed_machine_that_is_tried_again_soon():
    cluster = cluster_with_failed_engine()
    cluster.find(cluster.engines[0], "10.0.0.7 cpu")
    waits = cluster.submit(1)
    cluster.fail(cluster.engines[0])
    await cluster.advance(1)
    late, named = cluster.submit(2), ask_for_model(cluster, 3)
    assert waits.responses == late.responses == named.responses == []
    await cluster.advance(FIRST_PAUSE_SECONDS + FIND_SECONDS / 2)
    assert waits.responses == late.responses == named.responses == []
    again = cluster.engines[-1]
    cluster.find(again, "10.0.0.7 cpu")
    await cluster.advance(5 * PATIENCE_SECONDS)
    assert waits.responses == [], "it loads"
    await cluster.place(again)
    assert again.running == [1]
    await cluster.dispatcher.stop()


async def test_a_refusal_says_when_the_machine_is_tried_again():
    cluster = cluster_with_failed_engine()
    for _ in range(2):
        cluster.find(cluster.engines[-1], "10.0.0.7 cpu")
        waits = cluster.submit(1)
        cluster.fail(cluster.engines[-1])
        assert waits.responses == []
        await cluster.advance(FIRST_PAUSE_SECONDS + 2)
    [refusal] = waits.responses
    assert (refusal.code, refusal.retry_after) == ("engine_unavailable", pytest.approx(2 * FIRST_PAUSE_SECONDS, abs=2))
    assert cluster.submit(2).responses == [], "less than the patience of a request is left by now"
    await cluster.advance(FIRST_PAUSE_SECONDS + FIND_SECONDS)
    assert cluster.submit(3).of(3) == ["engine_unavailable"], "that machine is gone"
    await cluster.dispatcher.stop()


async def test_a_machine_is_asked_for_where_the_first_engine_is_broken():
    cluster = cluster_with_failed_engine(scale_up_wait=10, max_engines=2)
    await cluster.advance(5 * HOLD_SECONDS)
    assert cluster.engines == [], "nobody needs one"
    waits, named = cluster.submit(1), ask_for_model(cluster, 2)
    await cluster.advance(HOLD_SECONDS + 1)
    [engine] = cluster.engines
    await cluster.advance(5 * PATIENCE_SECONDS)
    await cluster.place(engine)
    assert (waits.of(1), engine.running) == ([], [1])
    assert named.responses[0].info.name == "scripted"
    await cluster.dispatcher.stop()


async def test_those_who_wait_when_the_first_engine_breaks_ask_for_a_machine_too():
    cluster = ScalingCluster(scale_up_wait=10, max_engines=1)
    near = cluster.add_near()
    waits = cluster.submit(1)
    await cluster.advance(1)
    cluster.fail(near)
    await cluster.advance(HOLD_SECONDS + 1)
    assert (waits.responses, len(cluster.engines)) == ([], 1)
    await cluster.dispatcher.stop()


async def test_those_who_wait_for_a_machine_that_turns_out_bad_ask_for_the_next_one():
    cluster = cluster_with_failed_engine(scale_up_wait=10, max_engines=2)
    waits, named = cluster.submit(1), ask_for_model(cluster, 2)
    await cluster.advance(HOLD_SECONDS + 1)
    cluster.find(cluster.engines[0])
    cluster.fail(cluster.engines[0])
    await cluster.advance(HOLD_SECONDS + 1)
    [_, second] = cluster.engines
    await cluster.place(second)
    assert (waits.responses, second.running) == ([], [1])
    assert named.responses[0].info.name == "scripted"
    await cluster.dispatcher.stop()


async def test_without_a_cluster_nobody_waits_for_a_machine_whatever_scale_up_wait_says():
    cluster = ScalingCluster(cluster="", scale_up_wait=10, max_engines=2)
    cluster.fail(cluster.add_near())
    assert cluster.submit(1).of(1) == ["engine_unavailable"]
    await cluster.dispatcher.stop()


async def test_while_no_machine_is_asked_for_any_more_requests_are_told_when_the_next_one_is():
    cluster = ScalingCluster(scale_up_wait=10, max_engines=1)
    for pause in (0, 1, 2):
        await cluster.advance(pause * FIRST_PAUSE_SECONDS)
        waits = cluster.submit(pause)
        await cluster.advance(HOLD_SECONDS + 1)
        cluster.find(cluster.engines[-1])
        cluster.fail(cluster.engines[-1])
        await cluster.advance(1)
    assert waits.responses == [], "the bad machine may be used once more"
    await cluster.advance(2 * FIRST_PAUSE_SECONDS)
    assert waits.of(2) == ["engine_unavailable"]
    [refusal] = cluster.submit(9).responses
    assert (refusal.sentence, refusal.retry_after) == (
        "The model does not fit.", pytest.approx(2 * FIRST_PAUSE_SECONDS, abs=3),
    )  # fmt: skip
    await cluster.dispatcher.stop()
