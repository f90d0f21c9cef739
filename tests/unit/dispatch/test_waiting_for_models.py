"""Requests that wait for their model take their place in the queue, and none of them waits for ever."""

import asyncio

from imageserver.dispatch import job_records
from imageserver.dispatch.job_queries import JobQueries
from imageserver.dispatch.model_loading import ModelLoading
from imageserver.protocol.messages import JobList, ListJobs
from tests.unit.dispatch.conftest import Ear


def test_requests_for_the_first_model_wait_for_it_through_crashes_and_hear_what_it_is(play):
    async def scene(stage):
        stage.dispatcher.models = ModelLoading(stage.engine, stage.dispatcher.job_records)
        stage.engine.state = "loading"
        stage.ask(1, prompt="a red circle")
        assert stage.dispatcher.snapshot().queue_length == 1
        stage.lose_engine()
        assert stage.ear.answers == []
        stage.revive()
        [answer] = stage.ear.answers
        assert (answer.job, answer.info.name) == (1, "scripted")
        assert stage.dispatcher.snapshot().queue_length == 0
        assert stage.engine.told == [], "it is loaded without that"
        stage.ask(2, prompt="one whose worker has not heard of it yet")
        assert [answer.job for answer in stage.ear.answers] == [1, 2]

    play(scene)


def test_requests_for_a_first_model_that_will_never_come_are_told_why(play):
    async def scene(stage):
        stage.engine.state = "loading"
        stage.ask(1, prompt="a red circle")
        stage.engine.state, stage.engine.reason = "failed", "The weights are gone."
        stage.dispatcher.engine_lost(silent=False)
        stage.ask(2, prompt="another")
        told = [(answer.code, answer.sentence) for answer in stage.ear.answers]
        assert told == [("engine_unavailable", "The weights are gone.")] * 2

    play(scene)


def test_requests_that_wait_for_their_model_take_places_in_the_queue(play):
    async def scene(stage):
        stage.engine.state = "loading"
        for job in (1, 2, 3):
            stage.ask(job, prompt="a red circle")
        assert [(answer.job, answer.code) for answer in stage.ear.answers] == [(3, "queue_full")]

    play(scene, max_queue=2)


def test_requests_that_wait_for_their_model_count_against_max_queue(play):
    async def scene(stage):
        for job in (1, 2, 3):
            stage.ask(job, load="other", prompt="x")
        stage.submit(4)
        assert [stage.ear.of(job)[-1:] for job in (3, 4)] == [["queue_full"]] * 2
        assert "queue_full" not in stage.ear.of(1) + stage.ear.of(2)
        stage.ask(5, load="third", fetch=True)
        assert "queue_full" not in stage.ear.of(5), "what prepares a model is no generation"
        stage.hold("scripted", "other", job=1)
        stage.submit(1, 2, model="other")
        assert "queue_full" not in stage.ear.of(1) + stage.ear.of(2)

    play(scene, max_queue=2)


def state_of(stage, job):
    ear = Ear()
    JobQueries(stage.dispatcher).list_jobs(ListJobs(job=99, wanted=job), ear)
    [answer] = ear.heard
    assert isinstance(answer, JobList)
    return answer.jobs[0].state if answer.jobs else None


def test_a_request_that_asks_for_nothing_once_its_model_is_there_is_no_job_for_ever(play, monkeypatch):
    monkeypatch.setattr(job_records, "TIMEOUT_SECONDS", 0.01)

    async def scene(stage):
        stage.ask(1, load="other", prompt="refused when its model is known")
        stage.ask(2, load="other", prompt="generated")
        stage.hold("scripted", "other", job=1)
        stage.submit(2, model="other")
        assert [state_of(stage, job) for job in (1, 2)] == ["queued", "queued"]
        await asyncio.sleep(0.1)
        assert [state_of(stage, job) for job in (1, 2)] == ["cancelled", "queued"]

    play(scene)
