"""Every request can be listed, looked at, watched and stopped, by its own credential alone."""

import asyncio
import gc
import weakref
from collections.abc import Iterable
from dataclasses import replace

import pytest

from imageserver.dispatch import job_records
from imageserver.dispatch.job_queries import JobQueries
from imageserver.generation import Outcome, Source, Upscale
from imageserver.protocol.framing import MAX_HEADER_BYTES, pack
from imageserver.protocol.messages import (
    CacheHit,
    CancelJob,
    CurrentJob,
    CurrentJobRequest,
    JobEvent,
    JobList,
    JobStatus,
    ListJobs,
    Preview,
    Progress,
    Queued,
    Started,
    Submit,
    Watch,
)
from tests.support.dispatch_harness import INFO, Harness, Recorder
from tests.support.factories import generation


def submit(
    harness: Harness, job: int, *, credential: str = "", key: str | None = None, worker: Recorder | None = None
) -> None:
    request = Submit(
        job=job, generation=generation(f"image {job}"), timeout=60, credential=credential, dialect="openai",
        twin_key=key,
    )  # fmt: skip
    harness.dispatcher.submit(request, worker or harness.worker)


def ask(harness: Harness, **question: object) -> tuple[JobStatus, ...]:
    recorder = Recorder()
    JobQueries(harness.dispatcher).list_jobs(ListJobs(job=99, **question), recorder)
    [answer] = recorder.messages
    assert isinstance(answer, JobList)
    return answer.jobs


def events(recorder: Recorder) -> list[tuple[int, str]]:
    return [(message.number, message.name) for message in recorder.messages if isinstance(message, JobEvent)]


def ids(jobs: Iterable[JobStatus]) -> list[int]:
    return [job.id for job in jobs]


async def test_a_request_is_told_what_to_expect_as_soon_as_it_is_accepted(harness):
    harness.submit(1, 2)
    [first, second] = [message for message in harness.worker.messages if isinstance(message, Queued)]
    assert (first.job, first.position) == (1, 0)
    assert (second.job, second.position) == (2, 1)
    assert second.wait >= first.own > 0


async def test_the_newest_requests_come_first_with_their_state_and_outlook(harness):
    submit(harness, 1)
    submit(harness, 2)
    submit(harness, 3)
    harness.progress(1)
    third, second, first = ask(harness)
    assert (first.id, first.state, first.step, first.total_steps) == (1, "processing", 1, 4)
    assert first.queue_position is None
    assert first.expected_seconds is not None
    assert (second.state, second.queue_position) == ("queued", 1)
    assert (third.state, third.queue_position) == ("queued", 2)
    assert third.queue_wait > second.queue_wait > 0
    assert (third.prompt, third.dialect) == ("image 3", "openai")
    assert ids(ask(harness, limit=2)) == [3, 2]
    assert ids(ask(harness, states=("processing",))) == [1]
    assert ids(ask(harness, states=("queued", "processing"))) == [3, 2, 1]
    assert ids(ask(harness, among=(1, 3, 77))) == [1, 3]
    assert ids(ask(harness, among=(1, 2), states=("queued",))) == [2]
    assert ids(ask(harness, wanted=2)) == [2]
    assert ask(harness, wanted=77) == ()


async def test_an_enlarged_image_is_listed_with_the_size_that_it_gets(harness):
    larger = Upscale(width=160, height=160, strength=0.5, steps=4, tile=(160, 160))
    request = Submit(job=1, generation=generation(upscale=larger), timeout=60, credential="", dialect="native")
    harness.dispatcher.submit(request, harness.worker)
    [job] = ask(harness)
    assert (job.width, job.height) == (160, 160)


async def test_ended_requests_stay_known_with_how_they_ended(harness):
    submit(harness, 1)
    harness.finish(1)
    submit(harness, 2)
    harness.fail(2, "out_of_memory")
    submit(harness, 3)
    harness.dispatcher.cancel(3)
    third, second, first = ask(harness)
    assert (first.state, first.seeds, first.cache, first.inference_time) == ("completed", (1,), "miss", 2.0)
    assert first.completed_at >= first.created_at
    assert (second.state, second.code, second.error) == ("failed", "out_of_memory", "It failed.")
    assert third.state == "cancelled"


async def test_a_credential_sees_and_stops_its_own_alone(harness):
    submit(harness, 1, credential="ann")
    submit(harness, 2, credential="bob")
    assert ids(ask(harness, credential="ann")) == [1]
    assert ask(harness, credential="ann", wanted=2) == ()
    assert ids(ask(harness, credential="ann", among=(1, 2))) == [1]
    queries, recorder = JobQueries(harness.dispatcher), Recorder()
    queries.cancel(CancelJob(job=9, wanted=2, credential="ann"), recorder)
    queries.watch(Watch(job=10, wanted=2, credential="ann"), recorder)
    assert [message.jobs for message in recorder.messages] == [(), ()]
    assert ids(ask(harness, states=("cancelled",))) == []
    queries.cancel(CancelJob(job=11, wanted=2, credential="bob"), recorder)
    assert recorder.messages[-1].jobs[0].state == "cancelled"
    assert harness.worker.of(2) == ["cancelled"]


async def test_a_watch_tells_what_was_missed_then_what_comes_then_ends(harness):
    queries, recorder = JobQueries(harness.dispatcher), Recorder()
    submit(harness, 1)
    harness.progress(1)
    queries.watch(Watch(job=50, wanted=1, after=1), recorder)
    assert events(recorder) == [(2, "started"), (3, "progress")]
    harness.finish(1)
    assert events(recorder)[-1] == (4, "completed")
    late = Recorder()
    queries.watch(Watch(job=51, wanted=1, after=4), late)
    assert events(late) == [(4, "completed")]


async def test_a_watch_with_previews_gets_the_last_one_and_those_to_come_and_another_gets_none(harness):
    queries, plain, late = JobQueries(harness.dispatcher), Recorder(), Recorder()
    submit(harness, 1)
    queries.watch(Watch(job=50, wanted=1), plain)
    for step in (1, 2):
        preview = Preview(job=1, index=0, step=step, total=4, width=1, height=1)
        harness.dispatcher.job_event(harness.seat, preview, b"rgb")
    queries.watch(Watch(job=51, wanted=1, previews=True), late)
    harness.dispatcher.job_event(harness.seat, Preview(job=1, index=0, step=3, total=4, width=1, height=1), b"rgb")
    shown = [(message.job, message.step) for message in late.messages if isinstance(message, Preview)]
    assert shown == [(51, 2), (51, 3)]
    assert not [message for message in plain.messages if isinstance(message, Preview)]
    harness.finish(1)
    after = Recorder()
    queries.watch(Watch(job=52, wanted=1, previews=True), after)
    assert [message for message in after.messages if isinstance(message, Preview)] == []


async def test_an_ended_watch_hears_nothing_and_a_worker_that_leaves_ends_its_own(harness):
    queries, one, other = JobQueries(harness.dispatcher), Recorder(), Recorder()
    submit(harness, 1)
    queries.watch(Watch(job=50, wanted=1), one)
    queries.watch(Watch(job=51, wanted=1), other)
    queries.unwatch(50)
    queries.leave(other)
    received = len(one.messages), len(other.messages)
    harness.finish(1)
    assert (len(one.messages), len(other.messages)) == received


async def test_a_request_that_was_watched_to_its_end_is_forgotten_like_any_other(monkeypatch):
    monkeypatch.setattr(job_records, "MAX_RECORDS", 1)
    harness = Harness()
    queries = JobQueries(harness.dispatcher)
    submit(harness, 1)
    queries.watch(Watch(job=50, wanted=1), Recorder())
    watched = weakref.ref(harness.dispatcher.job_records.find(1, ""))
    harness.finish(1)
    for job in (2, 3):
        submit(harness, job)
        queries.watch(Watch(job=50 + job, wanted=job), Recorder())
        harness.finish(job)
    gc.collect()
    assert watched() is None


async def test_a_list_of_the_longest_prompts_is_a_message_that_a_worker_takes():
    harness = Harness(max_queue=1)
    longest = "\N{EARTH GLOBE EUROPE-AFRICA}" * 10_000
    for job in range(1000):
        harness.dispatcher.submit(Submit(job=job, generation=generation(longest), timeout=60), harness.worker)
    listed = ask(harness, limit=1000)
    assert len(listed) == 1000
    assert len(pack(JobList(job=1, jobs=listed))) < MAX_HEADER_BYTES
    assert ask(harness, wanted=7)[0].prompt == longest


async def test_twins_are_two_requests_and_share_previews(harness):
    first, second = Recorder(), Recorder()
    submit(harness, 1, key="same", worker=first)
    harness.progress(1)
    submit(harness, 2, key="same", worker=second)
    harness.dispatcher.job_event(harness.seat, Preview(job=1, index=0, step=2, total=4, width=1, height=1), b"rgb")
    assert first.of(1)[-1] == second.of(2)[-1] == "Preview"
    assert second.of(2)[0] == "Started"
    harness.finish(1)
    assert [status.cache for status in ask(harness)] == ["join", "miss"]


async def test_an_answer_from_the_cache_is_a_request_like_any_other(harness):
    outcome = Outcome(width=64, height=64, seeds=(1,), inference_time=2.0, queue_time=0.0, batch_size=1)
    harness.dispatcher.record_cache_hit(CacheHit(job=5, generation=generation(), outcome=outcome), harness.worker)
    [status] = ask(harness)
    assert (status.id, status.state, status.cache) == (5, "completed", "hit")
    assert harness.dispatcher.snapshot().completed == 1


async def test_what_runs_is_never_forgotten_however_many_come_after_it(monkeypatch):
    monkeypatch.setattr(job_records, "MAX_RECORDS", 3)
    harness = Harness()
    submit(harness, 1)
    for number in range(2, 8):
        submit(harness, number)
        harness.dispatcher.cancel(number)
    assert ids(ask(harness)) == [7, 6, 1]


async def test_the_sources_pixels_reach_the_engine(harness):
    wanted = generation(source=Source(strength=0.5, digest="x"))
    harness.dispatcher.submit(Submit(job=1, generation=wanted, timeout=60), harness.worker, b"pixels")
    assert harness.engine.sources == [b"pixels"]


def current(
    harness: Harness, client: str = "", credential: str = "", dialect: str = "a1111"
) -> tuple[CurrentJob, bytes]:
    recorder = Recorder()
    query = CurrentJobRequest(job=99, dialect=dialect, credential=credential, client=client)
    JobQueries(harness.dispatcher).current(query, recorder)
    [response], [pixels] = recorder.messages, recorder.raw
    return response, pixels


def submit_from(harness: Harness, job: int, client: str, *, credential: str = "", dialect: str = "a1111") -> None:
    request = Submit(
        job=job, generation=generation(), timeout=60, credential=credential, dialect=dialect, client=client
    )
    harness.dispatcher.submit(request, harness.worker)


def number(answer: tuple[CurrentJob, bytes]) -> int | None:
    return answer[0].status.id if answer[0].status else None


async def test_the_current_request_is_the_first_that_runs_then_the_first_that_waits_then_the_newest():
    harness = Harness(room=3)
    assert number(current(harness, "1.1.1.1")) is None
    for job in (1, 2, 3):
        submit_from(harness, job, "1.1.1.1")
    assert number(current(harness, "1.1.1.1")) == 1
    harness.dispatcher.job_event(harness.seat, Started(job=2), b"")
    assert number(current(harness, "1.1.1.1")) == 2
    harness.dispatcher.job_event(harness.seat, Started(job=1), b"")
    assert number(current(harness, "1.1.1.1")) == 2
    for job in (2, 1):
        harness.dispatcher.cancel(job)
    assert number(current(harness, "1.1.1.1")) == 3
    harness.dispatcher.cancel(3)
    assert number(current(harness, "1.1.1.1")) == 3
    assert current(harness, "1.1.1.1")[0].status.state == "cancelled"


async def test_the_current_request_is_the_askers_own_in_its_own_dialect(harness):
    submit_from(harness, 1, "1.1.1.1")
    submit_from(harness, 2, "1.1.1.1", dialect="native")
    submit_from(harness, 3, "1.1.1.1", credential="ann")
    submit_from(harness, 4, "2.2.2.2", credential="bob")
    assert number(current(harness, "1.1.1.1")) == 1
    assert number(current(harness, "2.2.2.2")) is None
    # Whoever has a key is known by it, wherever the request comes from.
    assert number(current(harness, "9.9.9.9", "ann")) == 3
    assert number(current(harness, "1.1.1.1", "bob")) == 4
    assert number(current(harness, "1.1.1.1", dialect="openai")) is None


async def test_the_last_preview_is_kept_as_long_as_the_image_is_in_the_making(harness):
    submit_from(harness, 1, "1.1.1.1")
    assert current(harness, "1.1.1.1")[0].preview is None
    harness.progress(1)
    for step in (1, 2):
        preview = Preview(job=1, index=0, step=step, total=4, width=1, height=1)
        harness.dispatcher.job_event(harness.seat, preview, bytes([step]) * 3)
    answer, pixels = current(harness, "1.1.1.1")
    assert (answer.preview.step, pixels) == (2, b"\2\2\2")
    harness.finish(1)
    answer, pixels = current(harness, "1.1.1.1")
    assert (answer.status.state, answer.preview, pixels) == ("completed", None, b"")


async def test_whoever_comes_back_sees_the_last_preview_of_each_image(harness):
    queries, recorder = JobQueries(harness.dispatcher), Recorder()
    harness.submit(1)
    harness.progress(1)
    for step, index in [(1, 0), (1, 1), (2, 0)]:
        preview = Preview(job=1, index=index, step=step, total=4, width=1, height=1)
        harness.dispatcher.job_event(harness.seat, preview, bytes([step]) * 3)
    queries.watch(Watch(job=50, wanted=1, previews=True), recorder)
    shown = [message for message in recorder.messages if isinstance(message, Preview)]
    assert [(message.index, message.step) for message in shown] == [(1, 1), (0, 2)]
    assert harness.dispatcher.job_records.find(1, "").preview[0].step == 2


async def test_the_wait_of_a_request_that_its_engine_holds_is_that_of_now():
    harness = Harness(room=2)
    harness.submit(1, 2)
    harness.progress(1)
    before = ask(harness, wanted=2)[0]
    assert harness.engine.running == [1, 2]
    assert (before.state, before.queue_position) == ("queued", 1)
    harness.finish(1)
    after = ask(harness, wanted=2)[0]
    assert (after.queue_position, after.queue_wait) == (0, 0.0)
    harness.progress(2)
    assert ask(harness, wanted=2)[0].queue_wait is None


async def test_a_request_whose_engine_died_waits_again_from_its_first_step_on(harness):
    queries, recorder = JobQueries(harness.dispatcher), Recorder()
    harness.submit(1)
    queries.watch(Watch(job=50, wanted=1), recorder)
    harness.progress(1)
    harness.dispatcher.job_event(harness.seat, Preview(job=1, index=0, step=1, total=4, width=1, height=1), b"rgb")
    harness.lose_engine()
    [status] = ask(harness)
    assert (status.state, status.step, status.started_at, status.queue_position) == ("queued", 0, None, 0)
    assert status.queue_wait is not None
    assert harness.dispatcher.job_records.find(1, "").preview is None
    assert [name for _, name in events(recorder)] == ["queued", "started", "progress", "queued"]
    harness.revive()
    harness.progress(1)
    harness.finish(1)
    [status] = ask(harness)
    assert (status.state, status.step, status.queue_wait) == ("completed", 4, None)


async def test_all_who_wait_for_a_job_are_told_that_it_waits_again(harness):
    worker = Recorder()
    submit(harness, 1, key="same")
    harness.progress(1)
    submit(harness, 2, key="same", worker=worker)
    harness.lose_engine()
    assert [type(message).__name__ for message in worker.messages] == ["Queued", "Started", "Queued"]
    assert [status.state for status in ask(harness)] == ["queued", "queued"]


async def test_a_caption_is_listed_as_such_and_finishes_without_seeds(harness):
    harness.seat.models.known["scripted"] = replace(INFO, captions=True)
    wanted = generation("", count=0, steps=0, caption="sentence", source=Source(strength=1.0, digest="x"))
    harness.dispatcher.submit(Submit(job=1, generation=wanted, timeout=60), harness.worker)
    [status] = ask(harness)
    assert (status.kind, status.n, status.total_steps) == ("caption", 0, 0)
    assert status.expected_seconds > 0
    harness.finish(1)
    [status] = ask(harness)
    assert (status.state, status.cache) == ("completed", None), "no caption is kept in the cache"


async def test_the_time_left_follows_the_measured_pace_and_is_the_same_wherever_it_is_asked_for(harness):
    worker, recorder = Recorder(), Recorder()
    harness.submit(1, worker=worker)
    JobQueries(harness.dispatcher).watch(Watch(job=50, wanted=1), recorder)
    harness.dispatcher.job_event(harness.seat, Started(job=1), b"")
    [expected] = [message.own for message in worker.messages if isinstance(message, Queued)]
    for step in range(1, 16):
        await asyncio.sleep(expected)
        harness.dispatcher.job_event(harness.seat, Progress(job=1, step=step, total=20), b"")
        event = [message.status for message in recorder.messages if isinstance(message, JobEvent)][-1]
        assert event.expected_seconds == ask(harness)[0].expected_seconds
        assert harness.dispatcher.snapshot().queue_wait == pytest.approx(event.expected_seconds, abs=0.01)
    # Five steps, each as long as the whole was expected to be.
    assert event.expected_seconds == pytest.approx(5 * expected, rel=0.25)


async def test_of_two_that_share_a_device_the_later_one_is_left_the_time_of_both():
    harness = Harness(room=2)
    submit(harness, 1)
    submit(harness, 2)
    harness.progress(1)
    harness.dispatcher.job_event(harness.seat, Started(job=2), b"")
    second, first = ask(harness)
    assert second.expected_seconds > first.expected_seconds
    assert harness.dispatcher.snapshot().queue_wait == pytest.approx(second.expected_seconds, abs=0.01)
