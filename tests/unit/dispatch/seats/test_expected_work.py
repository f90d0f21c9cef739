"""What the end of one job costs where many wait: neither an estimate nor a look at each of them."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from imageserver.dispatch.estimates.cost_model import CostModel
from imageserver.dispatch.jobs import Job
from imageserver.dispatch.seats.expected_work import INTERVAL_SECONDS, MAX_AT_ONCE
from imageserver.generation import Upscale
from imageserver.protocol.messages import Submit
from tests.support.dispatch_harness import Harness
from tests.support.factories import generation

QUEUED = 4 * MAX_AT_ONCE
KINDS = 8


def counted(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[Any]:
    """Return a list that grows with every call of a method."""
    calls: list[Any] = []
    method: Callable[..., Any] = getattr(owner, name)

    def call(self: Any, *arguments: Any) -> Any:
        calls.append(arguments)
        return method(self, *arguments)

    monkeypatch.setattr(owner, name, call)
    return calls


def queue_many(queued: int = QUEUED) -> Harness:
    harness = Harness(seats=2)
    for number in range(queued):
        wanted = generation(steps=4 + number % KINDS, model="scripted")
        harness.dispatcher.jobs.add(Job(number + 1, wanted, [], arrived=0.0, work=wanted.steps / 1000))
    harness.dispatcher.engine_changed()
    return harness


async def test_the_end_of_a_job_estimates_no_thousand_others_at_once(monkeypatch: pytest.MonkeyPatch):
    harness = queue_many()
    calls = counted(monkeypatch, CostModel, "seconds")
    harness.finish(harness.engine.running[0])
    assert len(calls) < MAX_AT_ONCE


async def test_the_waiting_jobs_learn_a_moment_later_each_kind_once(monkeypatch: pytest.MonkeyPatch):
    harness = queue_many()
    [first] = harness.engine.running
    waiting = next(iter(harness.dispatcher.jobs.queue))
    before = waiting.work
    harness.finish(first)
    assert waiting.work == before
    calls = counted(monkeypatch, CostModel, "seconds")
    await asyncio.sleep(2 * INTERVAL_SECONDS)
    assert waiting.work > 2 * before
    assert len(calls) <= KINDS + len(harness.engines)


async def test_few_waiting_jobs_learn_at_once():
    harness = Harness()
    harness.submit(1, 2, 3)
    [_, last] = harness.dispatcher.jobs.queue
    before = last.work
    harness.finish(1)
    assert last.work > 2 * before


async def test_of_jobs_with_as_many_steps_the_one_with_larger_tiles_is_expected_to_take_longer():
    harness = Harness()
    harness.submit(1)
    for job, tile in ((2, 64), (3, 1024)):
        upscale = Upscale(width=tile * 3 // 2, height=tile * 3 // 2, strength=0.5, steps=4, tile=(tile, tile))
        wanted = generation(model="scripted", upscale=upscale)
        harness.dispatcher.submit(Submit(job=job, generation=wanted, timeout=60.0), harness.worker)
    small, large = sorted(harness.dispatcher.jobs.queue, key=lambda job: job.id)
    assert small.generation.generated_steps == large.generation.generated_steps
    harness.finish(1)
    assert large.work > 2 * small.work


async def test_what_a_decision_takes_hardly_grows_with_the_queue():
    def seconds(queued: int) -> float:
        """Return the shortest time to give a freed seat its next job."""
        harness, times = queue_many(queued), []
        for _ in range(20):
            [ended] = harness.engine.running
            began = time.thread_time()
            harness.finish(ended)
            times.append(time.thread_time() - began)
        return min(times)

    assert seconds(40 * MAX_AT_ONCE) < 8 * seconds(2 * MAX_AT_ONCE)
