"""Identical requests in flight run once, and every client keeps its own number, deadline and cancel."""

import asyncio

from imageserver.dispatch.estimates import pending_estimates
from imageserver.protocol.messages import Estimate, EstimateRequest, Finished, Submit, TokenCounts
from tests.support.factories import generation
from tests.unit.dispatch.conftest import Ear, Stage


def submit(
    stage: Stage, job: int, *, key: str | None = "same", timeout: float = 60.0, patience: float | None = None,
    model: str = "",
) -> Ear:  # fmt: skip
    ear = Ear()
    request = Submit(job=job, generation=generation(model=model), timeout=timeout, twin_key=key, patience=patience)
    stage.dispatcher.submit(request, ear)
    return ear


def finished(ear: Ear) -> Finished:
    [message] = [message for message in ear.heard if isinstance(message, Finished)]
    return message


def test_twins_run_once_and_each_is_answered_under_its_own_number(play):
    async def scene(stage):
        first, second = submit(stage, 1), submit(stage, 2)
        assert stage.engine.runs == [1]
        stage.progress(1)
        stage.finish(1)
        assert (finished(first).job, finished(first).joined) == (1, False)
        assert (finished(second).job, finished(second).joined) == (2, True)
        assert second.of(2)[:2] == ["Started", "Progress"]
        assert stage.dispatcher.snapshot().completed == 2

    play(scene, room=4)


def test_requests_without_a_key_or_with_another_one_run_for_themselves(play):
    async def scene(stage):
        for job, key in ((1, None), (2, None), (3, "a"), (4, "b")):
            submit(stage, job, key=key)
        assert stage.engine.runs == [1, 2, 3, 4]

    play(scene, room=4)


def test_twins_are_of_one_model_however_it_was_named(play):
    async def scene(stage):
        stage.hold("scripted", "other")
        for job, model in ((1, ""), (2, "scripted"), (3, "other")):
            submit(stage, job, model=model)
        assert stage.engine.runs == [1, 3]

    play(scene, room=4)


def test_a_twin_that_leaves_stops_nothing_and_the_last_one_stops_the_job(play):
    async def scene(stage):
        first, second = submit(stage, 1), submit(stage, 2)
        stage.dispatcher.cancel(1)
        assert first.of(1) == ["cancelled"]
        assert stage.engine.cancels == []
        stage.dispatcher.cancel(2)
        assert second.of(2) == ["cancelled"]
        assert stage.engine.cancels == [1]

    play(scene)


def test_a_twins_deadline_is_its_own(play):
    async def scene(stage):
        first, second = submit(stage, 1), submit(stage, 2, timeout=0.02)
        await asyncio.sleep(0.1)
        assert second.of(2) == ["deadline_exceeded"]
        stage.finish(1)
        assert finished(first).job == 1

    play(scene)


def test_a_request_after_its_twin_ended_runs_anew(play):
    async def scene(stage):
        submit(stage, 1)
        stage.finish(1)
        submit(stage, 2)
        assert stage.engine.runs == [1, 2]

    play(scene)


def test_twins_take_no_second_place_in_a_full_queue(play):
    async def scene(stage):
        submit(stage, 1)
        assert submit(stage, 2).of(2) == []
        assert submit(stage, 3, key="other").of(3) == ["queue_full"]

    play(scene, max_queue=1)


def test_a_client_whose_patience_is_too_short_is_told_at_once_and_how_long_it_would_take(play):
    async def scene(stage):
        submit(stage, 1)
        assert submit(stage, 2, key=None, patience=0.001).of(2) == []  # nothing is known yet
        stage.finish(1)  # two seconds of device time
        ear = submit(stage, 3, key=None, patience=3.0)
        assert ear.of(3) == ["would_time_out"]
        assert "4.0 s" in ear.heard[-1].sentence
        assert submit(stage, 4, key=None, patience=5.0).of(4) == []

    play(scene)


def test_a_question_is_answered_without_queueing_anything(play):
    async def scene(stage):
        submit(stage, 1)
        stage.finish(1)
        submit(stage, 2)
        ear = Ear()
        stage.dispatcher.ask(EstimateRequest(job=9, generation=generation()), ear)
        [answer] = ear.heard
        assert isinstance(answer, Estimate)
        assert (answer.own, answer.wait, answer.position, answer.learnt) == (2.0, 2.0, 1, True)
        assert stage.engine.runs == [1, 2]
        assert stage.dispatcher.snapshot().queue_length == 0

    play(scene)


def forecasts(ear: Ear) -> list[Estimate]:
    return [message for message in ear.heard if isinstance(message, Estimate)]


def test_a_forecast_waits_for_what_the_engine_would_read(play):
    async def scene(stage):
        ear = Ear()
        stage.engine.answers_inspections = True
        stage.dispatcher.ask(EstimateRequest(job=9, generation=generation(), inspect=True), ear)
        assert (stage.engine.inspections, forecasts(ear)) == ([9], [])
        stage.dispatcher.inspected(TokenCounts(job=9, prompt_tokens=3, image_tokens=16))
        stage.dispatcher.inspected(TokenCounts(job=9, prompt_tokens=3, image_tokens=16))
        [forecast] = forecasts(ear)
        assert (forecast.inspected.prompt_tokens, forecast.inspected.image_tokens) == (3, 16)

    play(scene)


def test_a_busy_engine_is_not_waited_for_long(play, monkeypatch):
    monkeypatch.setattr(pending_estimates, "TIMEOUT_SECONDS", 0.01)

    async def scene(stage):
        ear = Ear()
        stage.engine.answers_inspections = True
        stage.dispatcher.ask(EstimateRequest(job=9, generation=generation(), inspect=True), ear)
        await asyncio.sleep(0.05)
        [forecast] = forecasts(ear)
        assert forecast.inspected is None

    play(scene)
