"""Every request can be listed, looked at, watched and stopped, by its own credential alone."""

import gc
import weakref
from collections.abc import Iterable

from imageserver.dispatch import job_records
from imageserver.dispatch.job_queries import JobQueries
from imageserver.generation import Outcome, Source
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
    Queued,
    Started,
    Submit,
    Watch,
)
from tests.support.factories import generation
from tests.unit.dispatch.conftest import Ear, Stage


def submit(stage: Stage, job: int, *, credential: str = "", key: str | None = None, ear: Ear | None = None) -> None:
    request = Submit(
        job=job, generation=generation(f"image {job}"), timeout=60, credential=credential, dialect="openai",
        twin_key=key,
    )  # fmt: skip
    stage.dispatcher.submit(request, ear or stage.ear)


def ask(stage: Stage, **question: object) -> tuple[JobStatus, ...]:
    ear = Ear()
    JobQueries(stage.dispatcher).list_jobs(ListJobs(job=99, **question), ear)
    [answer] = ear.heard
    assert isinstance(answer, JobList)
    return answer.jobs


def events(ear: Ear) -> list[tuple[int, str]]:
    return [(message.number, message.name) for message in ear.heard if isinstance(message, JobEvent)]


def ids(jobs: Iterable[JobStatus]) -> list[int]:
    return [job.id for job in jobs]


def test_a_request_is_told_what_to_expect_as_soon_as_it_is_accepted(play):
    async def scene(stage):
        stage.submit(1, 2)
        [first, second] = [message for message in stage.ear.heard if isinstance(message, Queued)]
        assert (first.job, first.position) == (1, 0)
        assert (second.job, second.position) == (2, 1)
        assert second.wait >= first.own > 0

    play(scene)


def test_the_newest_requests_come_first_with_their_state_and_outlook(play):
    async def scene(stage):
        submit(stage, 1)
        submit(stage, 2)
        submit(stage, 3)
        stage.progress(1)
        third, second, first = ask(stage)
        assert (first.id, first.state, first.step, first.total_steps) == (1, "processing", 1, 4)
        assert first.queue_position is None
        assert first.expected_seconds is not None
        assert (second.state, second.queue_position) == ("queued", 1)
        assert (third.state, third.queue_position) == ("queued", 2)
        assert third.queue_wait > second.queue_wait > 0
        assert (third.prompt, third.dialect) == ("image 3", "openai")
        assert ids(ask(stage, limit=2)) == [3, 2]
        assert ids(ask(stage, state="processing")) == [1]
        assert ids(ask(stage, wanted=2)) == [2]
        assert ask(stage, wanted=77) == ()

    play(scene)


def test_ended_requests_stay_known_with_how_they_ended(play):
    async def scene(stage):
        submit(stage, 1)
        stage.finish(1)
        submit(stage, 2)
        stage.fail(2, "out_of_memory")
        submit(stage, 3)
        stage.dispatcher.cancel(3)
        third, second, first = ask(stage)
        assert (first.state, first.seeds, first.cache, first.inference_time) == ("completed", (1,), "miss", 2.0)
        assert first.completed_at >= first.created_at
        assert (second.state, second.code, second.error) == ("failed", "out_of_memory", "It failed.")
        assert third.state == "cancelled"

    play(scene)


def test_a_credential_sees_and_stops_its_own_alone(play):
    async def scene(stage):
        submit(stage, 1, credential="ann")
        submit(stage, 2, credential="bob")
        assert ids(ask(stage, credential="ann")) == [1]
        assert ask(stage, credential="ann", wanted=2) == ()
        inquiries, ear = JobQueries(stage.dispatcher), Ear()
        inquiries.cancel(CancelJob(job=9, wanted=2, credential="ann"), ear)
        inquiries.watch(Watch(job=10, wanted=2, credential="ann"), ear)
        assert [message.jobs for message in ear.heard] == [(), ()]
        assert ids(ask(stage, state="cancelled")) == []
        inquiries.cancel(CancelJob(job=11, wanted=2, credential="bob"), ear)
        assert ear.heard[-1].jobs[0].state == "cancelled"
        assert stage.ear.of(2) == ["cancelled"]

    play(scene)


def test_a_watch_tells_what_was_missed_then_what_comes_then_ends(play):
    async def scene(stage):
        inquiries, ear = JobQueries(stage.dispatcher), Ear()
        submit(stage, 1)
        stage.progress(1)
        inquiries.watch(Watch(job=50, wanted=1, after=1), ear)
        assert events(ear) == [(2, "started"), (3, "progress")]
        stage.finish(1)
        assert events(ear)[-1] == (4, "completed")
        late = Ear()
        inquiries.watch(Watch(job=51, wanted=1, after=4), late)
        assert events(late) == [(4, "completed")]

    play(scene)


def test_an_ended_watch_hears_nothing_and_a_worker_that_leaves_ends_its_own(play):
    async def scene(stage):
        inquiries, one, other = JobQueries(stage.dispatcher), Ear(), Ear()
        submit(stage, 1)
        inquiries.watch(Watch(job=50, wanted=1), one)
        inquiries.watch(Watch(job=51, wanted=1), other)
        inquiries.unwatch(50)
        inquiries.leave(other)
        heard = len(one.heard), len(other.heard)
        stage.finish(1)
        assert (len(one.heard), len(other.heard)) == heard

    play(scene)


def test_a_request_that_was_watched_to_its_end_is_forgotten_like_any_other(play, monkeypatch):
    monkeypatch.setattr(job_records, "REMEMBERED", 1)

    async def scene(stage):
        inquiries = JobQueries(stage.dispatcher)
        submit(stage, 1)
        inquiries.watch(Watch(job=50, wanted=1), Ear())
        watched = weakref.ref(stage.dispatcher.job_records.find(1, ""))
        stage.finish(1)
        for job in (2, 3):
            submit(stage, job)
            inquiries.watch(Watch(job=50 + job, wanted=job), Ear())
            stage.finish(job)
        gc.collect()
        assert watched() is None

    play(scene)


def test_a_list_of_the_longest_prompts_is_a_message_that_a_worker_takes(play):
    async def scene(stage):
        longest = "\N{EARTH GLOBE EUROPE-AFRICA}" * 10_000
        for job in range(1000):
            stage.dispatcher.submit(Submit(job=job, generation=generation(longest), timeout=60), stage.ear)
        listed = ask(stage, limit=1000)
        assert len(listed) == 1000
        assert len(pack(JobList(job=1, jobs=listed))) < MAX_HEADER_BYTES
        assert ask(stage, wanted=7)[0].prompt == longest

    play(scene, max_queue=1)


def test_twins_are_two_requests_and_share_previews(play):
    async def scene(stage):
        first, second = Ear(), Ear()
        submit(stage, 1, key="same", ear=first)
        stage.progress(1)
        submit(stage, 2, key="same", ear=second)
        stage.dispatcher.job_event(Preview(job=1, index=0, step=2, total=4, width=1, height=1), b"rgb")
        assert first.of(1)[-1] == second.of(2)[-1] == "Preview"
        assert second.of(2)[0] == "Started"
        stage.finish(1)
        assert [status.cache for status in ask(stage)] == ["join", "miss"]

    play(scene)


def test_an_answer_from_the_cache_is_a_request_like_any_other(play):
    async def scene(stage):
        outcome = Outcome(width=64, height=64, seeds=(1,), inference_time=2.0, queue_time=0.0, batch_size=1)
        stage.dispatcher.note(CacheHit(job=5, generation=generation(), outcome=outcome), stage.ear)
        [status] = ask(stage)
        assert (status.id, status.state, status.cache) == (5, "completed", "hit")
        assert stage.dispatcher.snapshot().completed == 1

    play(scene)


def test_what_runs_is_never_forgotten_however_many_come_after_it(play, monkeypatch):
    monkeypatch.setattr(job_records, "REMEMBERED", 3)

    async def scene(stage):
        submit(stage, 1)
        for number in range(2, 8):
            submit(stage, number)
            stage.dispatcher.cancel(number)
        assert ids(ask(stage)) == [7, 6, 1]

    play(scene)


def test_the_sources_pixels_reach_the_engine(play):
    async def scene(stage):
        wanted = generation(source=Source(strength=0.5, digest="x"))
        stage.dispatcher.submit(Submit(job=1, generation=wanted, timeout=60), stage.ear, b"pixels")
        assert stage.engine.sources == [b"pixels"]

    play(scene)


def current(stage: Stage, client: str = "", credential: str = "", dialect: str = "a1111") -> tuple[CurrentJob, bytes]:
    heard: list[tuple[CurrentJob, bytes]] = []
    ear = Ear()
    ear.send = lambda message, raw=b"": heard.append((message, raw))  # type: ignore[method-assign]
    question = CurrentJobRequest(job=99, dialect=dialect, credential=credential, client=client)
    JobQueries(stage.dispatcher).current(question, ear)
    [answer] = heard
    return answer


def submit_from(stage: Stage, job: int, client: str, *, credential: str = "", dialect: str = "a1111") -> None:
    request = Submit(
        job=job, generation=generation(), timeout=60, credential=credential, dialect=dialect, client=client
    )
    stage.dispatcher.submit(request, stage.ear)


def number(answer: tuple[CurrentJob, bytes]) -> int | None:
    return answer[0].status.id if answer[0].status else None


def test_the_current_request_is_the_first_that_runs_then_the_first_that_waits_then_the_newest(play):
    async def scene(stage):
        assert number(current(stage, "1.1.1.1")) is None
        for job in (1, 2, 3):
            submit_from(stage, job, "1.1.1.1")
        assert number(current(stage, "1.1.1.1")) == 1
        stage.dispatcher.job_event(Started(job=2), b"")
        assert number(current(stage, "1.1.1.1")) == 2
        stage.dispatcher.job_event(Started(job=1), b"")
        assert number(current(stage, "1.1.1.1")) == 2
        for job in (2, 1):
            stage.dispatcher.cancel(job)
        assert number(current(stage, "1.1.1.1")) == 3
        stage.dispatcher.cancel(3)
        assert number(current(stage, "1.1.1.1")) == 3
        assert current(stage, "1.1.1.1")[0].status.state == "cancelled"

    play(scene, room=3)


def test_the_current_request_is_the_askers_own_in_its_own_dialect(play):
    async def scene(stage):
        submit_from(stage, 1, "1.1.1.1")
        submit_from(stage, 2, "1.1.1.1", dialect="native")
        submit_from(stage, 3, "1.1.1.1", credential="ann")
        submit_from(stage, 4, "2.2.2.2", credential="bob")
        assert number(current(stage, "1.1.1.1")) == 1
        assert number(current(stage, "2.2.2.2")) is None
        # Whoever has a key is known by it, wherever the request comes from.
        assert number(current(stage, "9.9.9.9", "ann")) == 3
        assert number(current(stage, "1.1.1.1", "bob")) == 4
        assert number(current(stage, "1.1.1.1", dialect="openai")) is None

    play(scene)


def test_the_last_preview_is_kept_as_long_as_the_image_is_in_the_making(play):
    async def scene(stage):
        submit_from(stage, 1, "1.1.1.1")
        assert current(stage, "1.1.1.1")[0].preview is None
        stage.progress(1)
        for step in (1, 2):
            preview = Preview(job=1, index=0, step=step, total=4, width=1, height=1)
            stage.dispatcher.job_event(preview, bytes([step]) * 3)
        answer, pixels = current(stage, "1.1.1.1")
        assert (answer.preview.step, pixels) == (2, b"\2\2\2")
        stage.finish(1)
        answer, pixels = current(stage, "1.1.1.1")
        assert (answer.status.state, answer.preview, pixels) == ("completed", None, b"")

    play(scene)
