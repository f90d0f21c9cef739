"""Identical requests in flight run once, and every client keeps its own number, deadline and cancel."""

import asyncio

from imageserver.dispatch.estimates.pending_estimates import TOKEN_COUNT_TIMEOUT_SECONDS
from imageserver.protocol.messages import Estimate, EstimateRequest, Finished, Submit, TokenCounts
from tests.support.dispatch_harness import Harness, Recorder
from tests.support.factories import generation


def submit(harness: Harness, job: int, *, key: str | None = "same", model: str = "", **wanted: float) -> Recorder:
    recorder = Recorder()
    request = Submit(job=job, generation=generation(model=model), twin_key=key, **({"timeout": 60.0} | wanted))
    harness.dispatcher.submit(request, recorder)
    return recorder


def finished(recorder: Recorder) -> Finished:
    [message] = [message for message in recorder.messages if isinstance(message, Finished)]
    return message


async def test_twins_run_once_and_each_is_answered_under_its_own_number():
    harness = Harness(room=4)
    first, second = submit(harness, 1), submit(harness, 2)
    assert harness.engine.runs == [1]
    harness.progress(1)
    harness.finish(1)
    assert (finished(first).job, finished(first).joined) == (1, False)
    assert (finished(second).job, finished(second).joined) == (2, True)
    assert second.of(2)[:2] == ["Started", "Progress"]
    assert harness.dispatcher.snapshot().completed == 2


async def test_requests_without_a_key_or_with_another_one_run_for_themselves():
    harness = Harness(room=4)
    for job, key in ((1, None), (2, None), (3, "a"), (4, "b")):
        submit(harness, job, key=key)
    assert harness.engine.runs == [1, 2, 3, 4]


async def test_twins_are_of_one_model_however_it_was_named():
    harness = Harness(room=4)
    harness.load("scripted", "other")
    for job, model in ((1, ""), (2, "scripted"), (3, "other")):
        submit(harness, job, model=model)
    assert harness.engine.runs == [1, 3]


async def test_a_twin_that_leaves_stops_nothing_and_the_last_one_stops_the_job(harness):
    first, second = submit(harness, 1), submit(harness, 2)
    harness.dispatcher.cancel(1)
    assert first.of(1) == ["cancelled"]
    assert harness.engine.cancels == []
    harness.dispatcher.cancel(2)
    assert second.of(2) == ["cancelled"]
    assert harness.engine.cancels == [1]


async def test_a_twins_deadline_is_its_own(harness):
    first, second = submit(harness, 1), submit(harness, 2, timeout=5)
    await asyncio.sleep(5)
    assert second.of(2) == ["deadline_exceeded"]
    harness.finish(1)
    assert finished(first).job == 1


async def test_a_request_after_its_twin_ended_runs_again(harness):
    submit(harness, 1)
    harness.finish(1)
    submit(harness, 2)
    assert harness.engine.runs == [1, 2]


async def test_twins_take_no_second_place_in_a_full_queue():
    harness = Harness(max_queue=1)
    submit(harness, 1)
    assert submit(harness, 2).of(2) == []
    assert submit(harness, 3, key="other").of(3) == ["queue_full"]


async def test_a_client_whose_patience_is_too_short_is_told_at_once_and_how_long_it_would_take(harness):
    submit(harness, 1)
    assert submit(harness, 2, key=None, client_timeout=0.001).of(2) == []  # nothing is known yet
    harness.finish(1)  # two seconds of device time
    recorder = submit(harness, 3, key=None, client_timeout=3.0)
    assert recorder.of(3) == ["would_time_out"]
    assert "4.0 s" in recorder.messages[-1].sentence
    assert submit(harness, 4, key=None, client_timeout=5.0).of(4) == []


async def test_a_question_is_answered_without_queueing_anything(harness):
    submit(harness, 1)
    harness.finish(1)
    submit(harness, 2)
    recorder = Recorder()
    harness.dispatcher.estimate(EstimateRequest(job=9, generation=generation()), recorder)
    [answer] = recorder.messages
    assert isinstance(answer, Estimate)
    assert (answer.own, answer.wait, answer.position, answer.learnt) == (2.0, 2.0, 1, True)
    assert harness.engine.runs == [1, 2]
    assert harness.dispatcher.snapshot().queue_length == 0


async def test_an_estimate_waits_for_the_token_counts():
    harness, recorder = Harness(), Recorder()
    harness.engine.counts_tokens = True
    harness.dispatcher.estimate(EstimateRequest(job=9, generation=generation()), recorder)
    assert recorder.messages == []
    for _ in range(2):
        harness.engine.asked[9].send(TokenCounts(job=9, prompt_tokens=3, image_tokens=16))
    [estimate] = recorder.messages
    assert (estimate.token_counts.prompt_tokens, estimate.token_counts.image_tokens) == (3, 16)


async def test_a_busy_engine_is_not_waited_for_long():
    harness, recorder = Harness(), Recorder()
    harness.engine.counts_tokens = True
    harness.dispatcher.estimate(EstimateRequest(job=9, generation=generation()), recorder)
    await asyncio.sleep(TOKEN_COUNT_TIMEOUT_SECONDS)
    [estimate] = recorder.messages
    assert estimate.token_counts is None
    harness.engine.asked[9].send(TokenCounts(job=9, prompt_tokens=3, image_tokens=16))
    assert recorder.messages == [estimate]
