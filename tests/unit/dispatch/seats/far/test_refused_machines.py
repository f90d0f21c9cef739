"""A machine that was started and cannot be used ends no request that another engine will answer."""

import pytest

from imageserver.dispatch.seats.far.far_seats import HOLD_SECONDS, IDLE_SECONDS
from imageserver.dispatch.seats.seat import REQUESTED
from imageserver.protocol.messages import REFUSED
from tests.support.recording_owner import RecordingOwner
from tests.support.scaling_cluster import ScalingCluster

JOBS = range(1, 5)


async def test_a_refused_machine_is_given_back_and_a_later_request_asks_for_one_again():
    cluster = ScalingCluster(scale_up_wait=10)
    first = cluster.submit(1)
    await cluster.advance(10)
    [engine] = cluster.engines
    cluster.refuse(engine)
    assert first.of(1) == ["engine_unavailable"]
    await cluster.advance(IDLE_SECONDS / 2)
    assert cluster.submit(2).of(2) == ["engine_unavailable"]
    await cluster.advance(IDLE_SECONDS)
    assert engine.has_stopped
    third = cluster.submit(3)
    await cluster.advance(10)
    assert (third.of(3), len(cluster.engines)) == ([], 2)
    await cluster.dispatcher.stop()


@pytest.mark.parametrize("settings", [{"min_engines": 2}, {"min_engines": 2, "scale_up_wait": 10}])
async def test_requests_wait_for_the_engine_that_died_while_another_machine_is_refused(settings):
    cluster = ScalingCluster(**settings)
    good, refused = cluster.engines
    await cluster.place(good)
    cluster.refuse(refused)
    answers = [cluster.submit(job) for job in JOBS]
    cluster.lose(good)
    await cluster.advance(1)
    assert good.has_stopped
    [_, _, again] = cluster.engines
    await cluster.place(again)
    assert len(again.running) == 1
    assert [answer.of(job) for job, answer in zip(JOBS, answers, strict=True)] == [[]] * len(JOBS)
    assert not refused.has_stopped, "another engine was asked for, so it goes on keeping that machine"
    await cluster.dispatcher.stop()


async def test_requests_wait_too_for_an_engine_that_died_on_a_machine_which_was_only_offered():
    cluster = ScalingCluster(min_engines=2)
    for number in range(3):
        await cluster.place(cluster.engines[number])
    for engine in cluster.engines[:2]:
        cluster.lose(engine)
        await cluster.advance(1)
    cluster.refuse(cluster.engines[4])
    waits = cluster.submit(1)
    cluster.lose(cluster.engines[2])
    await cluster.advance(1)
    await cluster.place(cluster.engines[5])
    assert (waits.of(1), cluster.engines[5].running) == ([], [1])
    await cluster.dispatcher.stop()


async def test_an_engine_that_died_is_asked_for_again_though_another_machine_is_refused():
    cluster = ScalingCluster(scale_up_wait=10, max_engines=4)
    answers = [cluster.submit(1)]
    await cluster.advance(HOLD_SECONDS + 1)
    [good] = cluster.engines
    await cluster.place(good)
    answers += [cluster.submit(job) for job in JOBS[1:]]
    cluster.dispatcher.jobs.running[1].work = 1000.0
    await cluster.advance(HOLD_SECONDS + 1)
    [_, refused] = cluster.engines
    cluster.refuse(refused)
    cluster.lose(good)
    await cluster.advance(HOLD_SECONDS + 1)
    assert (good.has_stopped, refused.has_stopped) == (True, True)
    [again] = cluster.engines[2:]
    await cluster.place(again)
    assert len(again.running) == 1
    assert [answer.of(job) for job, answer in zip(JOBS, answers, strict=True)] == [[]] * len(JOBS)
    await cluster.dispatcher.stop()


async def test_requests_wait_while_a_second_machine_is_asked_for_though_the_first_is_refused():
    cluster = ScalingCluster(min_engines=2)
    first, second = cluster.engines
    waits = cluster.submit(1)
    cluster.refuse(first)
    assert waits.of(1) == cluster.submit(2).of(2) == []
    assert cluster.dispatcher.snapshot().state == "loading"
    cluster.refuse(second)
    assert waits.of(1) == ["engine_unavailable"]
    await cluster.dispatcher.stop()


async def test_a_refused_machine_is_given_back_while_the_wait_is_too_long_and_another_one_asked_for():
    owner = RecordingOwner(scale_up_wait=10, max_engines=3)
    owner.expected_wait = 11
    await owner.advance(HOLD_SECONDS + 1)
    good = await owner.place("10.0.0.7 cpu")
    await owner.advance(HOLD_SECONDS + 1)
    [refused] = [seat for seat in owner.seats if seat is not good]
    refused.engine.phase = REFUSED
    await owner.advance(IDLE_SECONDS - 5)
    assert owner.seats == [good, refused], "the next one would be like it"
    await owner.advance(HOLD_SECONDS + 10)
    assert refused not in owner.seats
    assert owner.wanted == [REQUESTED] * 3
