"""The dispatcher measures every job once, however it ends."""

import asyncio
import dataclasses

import pytest

from imageserver.dispatch.job_table import JobTable
from imageserver.dispatch.jobs import Job
from imageserver.generation import Outcome, StageSeconds
from imageserver.protocol.messages import Failed, Finished, Progress, Started
from imageserver.telemetry.metric_registry import MetricRegistry
from tests.support.dispatch_harness import Harness
from tests.support.factories import generation
from tests.support.measured import counted, observed

OUTCOME = Outcome(
    width=64, height=64, seeds=(1,), inference_time=6.0, device_time=5.0, queue_time=0.0, batch_size=4,
    stage_seconds=StageSeconds(text=1.0, denoise=4.5, decode=0.5),
)  # fmt: skip


async def run(harness: Harness, job: int, ending: Finished | Failed) -> None:
    """Let a job take a step a second, four in all, then end."""
    harness.dispatcher.job_event(harness.seat, Started(job=job), b"")
    for step in range(1, 5):
        await asyncio.sleep(1)
        harness.dispatcher.job_event(harness.seat, Progress(job=job, step=step, total=4), b"")
    harness.engine.running.remove(job)
    harness.dispatcher.job_event(harness.seat, ending, b"pixels")


def measured(harness: Harness) -> MetricRegistry:
    return harness.dispatcher.measurements


async def test_a_finished_job_is_measured_by_model_kind_size_and_outcome(harness):
    harness.submit(1, 2, credential="ann")
    await run(harness, 1, Finished(job=1, outcome=OUTCOME))
    await run(harness, 2, Finished(job=2, outcome=dataclasses.replace(OUTCOME, device_time=7.0)))
    series, labels = measured(harness).series(), ("scripted", "text", "512")
    # The second waited for the first, which took a step a second.
    assert observed(series, "request_queue_seconds", *labels, "completed") == (2, pytest.approx(4.0))
    assert observed(series, "step_seconds", *labels, "completed") == (2, pytest.approx(2.0))
    stages = {stage: observed(series, "stage_seconds", stage, *labels, "completed") for stage in ("text", "denoise")}
    assert stages == {"text": (2, 2.0), "denoise": (2, 9.0)}
    assert observed(series, "batch_size", *labels) == (2, 8.0)
    assert counted(series, "key_device_seconds") == {("ann",): 12.0}


async def test_a_failed_job_and_one_cancelled_in_the_queue_are_measured_too(harness):
    harness.submit(1, 2)
    await asyncio.sleep(3)
    harness.dispatcher.cancel(2)
    await run(harness, 1, Failed(job=1, code="generation_failed", sentence="It failed."))
    series, labels = measured(harness).series(), ("scripted", "text", "512")
    assert observed(series, "request_queue_seconds", *labels, "cancelled") == (1, pytest.approx(3.0))
    # Its engine held it so long before it began.
    assert observed(series, "request_queue_seconds", *labels, "failed") == (1, pytest.approx(3.0))
    assert observed(series, "stage_seconds") == (0, 0)
    assert set(counted(series, "key_device_seconds")) == {("none",)}


async def test_steps_are_counted_from_the_beginning_of_the_last_run(harness):
    harness.submit(1)
    harness.dispatcher.job_event(harness.seat, Progress(job=1, step=2, total=4), b"")
    await asyncio.sleep(10)
    await run(harness, 1, Finished(job=1, outcome=OUTCOME))
    assert observed(measured(harness).series(), "step_seconds") == (1, pytest.approx(1.0))


async def test_jobs_on_two_engines_one_of_another_machine_are_in_one_histogram_each_once():
    harness = Harness(seats=2)
    harness.engines[1].machine = "10.0.0.7 cuda:1"
    harness.submit(1, 2)
    for job in (1, 2):
        # Both at a time, the second twice as slow.
        harness.dispatcher.job_event(harness.seat_of(job), Started(job=job), b"")
    for step in range(1, 5):
        await asyncio.sleep(1)
        harness.dispatcher.job_event(harness.seat_of(1), Progress(job=1, step=step, total=4), b"")
        if step % 2 == 0:
            harness.dispatcher.job_event(harness.seat_of(2), Progress(job=2, step=step // 2, total=4), b"")
    for job in (1, 2):
        seat = harness.seat_of(job)
        harness.engines[harness.seats.index(seat)].running.remove(job)
        harness.dispatcher.job_event(seat, Finished(job=job, outcome=OUTCOME), b"pixels")
    series, labels = measured(harness).series(), ("scripted", "text", "512", "completed")
    assert observed(series, "request_queue_seconds", *labels) == (2, pytest.approx(0.0))
    assert observed(series, "step_seconds", *labels) == (2, pytest.approx(1.0 + 2.0))
    assert observed(series, "stage_seconds", "denoise", *labels) == (2, 9.0)
    assert {seat.name for seat in harness.dispatcher.snapshot().seats} == {"card0", "10.0.0.7 cuda:1"}


async def test_each_load_of_a_model_is_measured_once(harness):
    harness.load("scripted", job=7)  # something else was unloaded
    assert observed(measured(harness).series(), "model_load_seconds", "scripted")[0] == 1
    harness.request_model(8, load="other")
    [load] = [message for message in harness.engine.sent if type(message).__name__ == "LoadModel"]
    harness.load("scripted", "other", job=load.job)
    assert observed(measured(harness).series(), "model_load_seconds", "other")[0] == 1
    assert observed(measured(harness).series(), "model_load_seconds")[0] == 2


async def test_a_job_that_waits_once_more_has_not_started():
    table = JobTable()
    job = Job(id=1, generation=generation(), waiters=[], arrived=0.0)
    table.add(job)
    table.start(job)
    table.running.pop(job.id)
    table.requeue(job)
    assert (job.state, job.started) == ("queued", None)
