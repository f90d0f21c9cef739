"""Progress is that of the caller's own request, also while it waits."""

import time

import pytest

from imageserver.api.dialects.automatic1111 import responses
from imageserver.protocol.messages import JobStatus


def job(**changes):
    fields = {
        "id": 1, "dialect": "automatic1111", "state": "processing", "prompt": "x", "width": 64, "height": 64,
        "steps": 10, "n": 1, "seed": 1, "priority": "normal", "created_at": 1.0, "started_at": 2.0, "total_steps": 10,
    }  # fmt: skip
    return JobStatus(**(fields | changes))


def test_idle_is_a_progress_of_0_and_no_jobs():
    for last in (None, job(state="completed"), job(state="failed")):
        answer = responses.progress(last, None)
        assert (answer.progress, answer.state.job_count, answer.current_image) == (0, 0, None)
        assert not answer.state.interrupted
    assert responses.progress(job(state="cancelled"), None).state.interrupted


def test_a_queued_request_is_not_idle():
    waiting = job(state="queued", started_at=None, queue_position=2, queue_wait=5.0, expected_seconds=3.0)
    answer = responses.progress(waiting, None)
    assert answer.progress > 0
    assert (answer.state.job_count, answer.state.sampling_step, answer.eta_relative) == (1, 0, 8.0)
    assert "2" in answer.textinfo


def test_a_request_that_waits_for_its_model_is_not_idle_either():
    answer = responses.progress(job(state="queued", started_at=None, n=0, total_steps=0), None)
    assert (answer.progress, answer.state.job_count) == (responses.MIN_PROGRESS, 1)


@pytest.mark.parametrize(
    ("step", "number", "sampling_step", "share"), [(0, 0, 0, 0.01), (4, 0, 4, 0.2), (10, 1, 0, 0.5), (20, 1, 10, 1.0)]
)
def test_steps_count_within_the_current_image(step, number, sampling_step, share):
    answer = responses.progress(job(n=2, step=step, total_steps=20), "image")
    assert (answer.state.job_no, answer.state.job_count) == (number, 2)
    assert (answer.state.sampling_step, answer.state.sampling_steps) == (sampling_step, 10)
    assert (answer.progress, answer.current_image) == (share, "image")


def test_the_remaining_time_follows_from_the_requests_own_pace():
    slow = job(step=5, started_at=time.time() - 60, expected_seconds=0.1)
    assert responses.progress(slow, None).eta_relative == pytest.approx(60, abs=5)
