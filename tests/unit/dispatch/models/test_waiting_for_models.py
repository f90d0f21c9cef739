"""Requests that wait for their model count like jobs in the queue, and none of them waits for ever."""

import asyncio

from imageserver.dispatch.job_queries import JobQueries
from imageserver.dispatch.job_records import SUBMIT_TIMEOUT_SECONDS
from imageserver.protocol.messages import JobList, ListJobs
from tests.support.dispatch_harness import Harness, Recorder


async def test_requests_for_the_first_model_wait_for_it_through_crashes_and_learn_what_it_is():
    harness = Harness(loaded=False)
    harness.engine.state = "loading"
    harness.request_model(1, prompt="a red circle")
    assert harness.dispatcher.snapshot().queue_length == 1
    harness.lose_engine()
    assert harness.worker.responses == []
    harness.revive()
    [answer] = harness.worker.responses
    assert (answer.job, answer.info.name) == (1, "scripted")
    assert harness.dispatcher.snapshot().queue_length == 0
    assert harness.engine.sent == [], "it is loaded without that"
    harness.request_model(2, prompt="one whose worker does not know of it yet")
    assert [answer.job for answer in harness.worker.responses] == [1, 2]


async def test_requests_for_a_first_model_that_will_never_come_are_told_why(harness):
    harness.engine.state = "loading"
    harness.request_model(1, prompt="a red circle")
    harness.engine.state, harness.engine.reason = "failed", "The weights are gone."
    harness.dispatcher.engine_lost(harness.seat, silent=False)
    harness.request_model(2, prompt="another")
    refusals = [(answer.code, answer.sentence) for answer in harness.worker.responses]
    assert refusals == [("engine_unavailable", "The weights are gone.")] * 2


async def test_requests_that_wait_for_their_model_take_places_in_the_queue():
    harness = Harness(max_queue=2)
    harness.engine.state = "loading"
    for job in (1, 2, 3):
        harness.request_model(job, prompt="a red circle")
    assert [(answer.job, answer.code) for answer in harness.worker.responses] == [(3, "queue_full")]


async def test_requests_that_wait_for_their_model_count_against_max_queue():
    harness = Harness(max_queue=2)
    for job in (1, 2, 3):
        harness.request_model(job, load="other", prompt="x")
    harness.submit(4)
    assert [harness.worker.of(job)[-1:] for job in (3, 4)] == [["queue_full"]] * 2
    assert "queue_full" not in harness.worker.of(1) + harness.worker.of(2)
    harness.request_model(5, load="third", fetch=True)
    assert "queue_full" not in harness.worker.of(5), "what prepares a model is not a generation"
    harness.load("scripted", "other", job=1)
    harness.submit(1, 2, model="other")
    assert "queue_full" not in harness.worker.of(1) + harness.worker.of(2)


def state_of(harness, job):
    recorder = Recorder()
    JobQueries(harness.dispatcher).list_jobs(ListJobs(job=99, wanted=job), recorder)
    [answer] = recorder.messages
    assert isinstance(answer, JobList)
    return answer.jobs[0].state if answer.jobs else None


async def test_a_request_that_asks_for_nothing_once_its_model_is_there_is_not_a_job_for_ever(harness):
    harness.request_model(1, load="other", prompt="refused when its model is known")
    harness.request_model(2, load="other", prompt="generated")
    harness.load("scripted", "other", job=1)
    harness.submit(2, model="other")
    assert [state_of(harness, job) for job in (1, 2)] == ["queued", "queued"]
    await asyncio.sleep(SUBMIT_TIMEOUT_SECONDS)
    assert [state_of(harness, job) for job in (1, 2)] == ["cancelled", "queued"]
