"""A retry joins the attempt that it repeats, and nobody else's."""

import asyncio

import pytest

from imageserver.dispatch import single_flight
from imageserver.dispatch.dispatcher import RETURN_SECONDS
from imageserver.dispatch.jobs import Job
from imageserver.dispatch.single_flight import KEPT_SECONDS, REFUSED_SECONDS, SingleFlight
from imageserver.generation import Outcome
from imageserver.protocol.messages import Finished, Submit
from tests.support.dispatch_harness import Harness
from tests.support.factories import generation


class Flights(SingleFlight):
    """Requests of one kind."""

    def first(self, number: int, key: str = "a") -> Job:
        """Submit a first try, which is a job of its own."""
        assert self.find(submit(number, key)) is None
        job = Job(number, generation(), [], arrived=0.0)
        self.add(job)
        self.join(number, job)
        return job

    def retry(self, number: int, key: str = "a") -> Job | None:
        job = self.find(submit(number, key, is_retry=True))
        if job is not None:
            self.join(number, job)
        return job

    def finish(self, job: Job, *numbers: int) -> None:
        job.state = "completed"
        outcome = Outcome(width=64, height=64, seeds=(1,), inference_time=1.0, queue_time=0.0, batch_size=1)
        self.end(job, (Finished(job=job.id, outcome=outcome), b"pixels"))
        for number in numbers:
            self.answer(number, "completed")


def submit(number: int, key: str | None, *, is_retry: bool = False, twin_key: str | None = None) -> Submit:
    return Submit(
        job=number, generation=generation(), timeout=60.0, retry_key=key, is_retry=is_retry, twin_key=twin_key
    )


@pytest.fixture
def flights() -> Flights:
    return Flights()


async def test_a_retry_joins_the_attempt_whose_client_left_and_not_its_neighbours(flights):
    first, second, third = (flights.first(number) for number in (1, 2, 3))
    flights.client_left(2)
    assert flights.retry(4) is second
    flights.client_left(1)
    assert flights.retry(5) is first
    assert third not in (first, second)


async def test_an_attempt_that_was_taken_over_is_not_taken_over_again_while_another_is_free(flights):
    jobs = [flights.first(1), flights.first(2)]
    flights.client_left(1)
    flights.client_left(2)
    assert {flights.retry(3).id, flights.retry(4).id} == {job.id for job in jobs}


async def test_a_retry_whose_first_try_still_seems_under_way_joins_that(flights):
    assert flights.retry(2) is None
    job = flights.first(1, "b")
    assert flights.retry(3, "b") is job


async def test_a_retry_that_leaves_too_is_followed_by_the_next(flights):
    job = flights.first(1)
    for number in (1, 2, 3):
        flights.client_left(number)
        assert flights.retry(number + 1) is job


async def test_what_was_answered_is_never_repeated(flights):
    flights.finish(flights.first(1), 1)
    assert flights.retry(2) is None


async def test_a_client_that_left_finds_its_images_though_they_were_finished_meanwhile(flights):
    job = flights.first(1)
    flights.client_left(1)
    flights.finish(job, 1)
    found = flights.retry(2)
    assert found is job
    assert found.result is not None


async def test_a_client_that_leaves_while_its_images_are_encoded_finds_them(flights):
    job = flights.first(1)
    flights.finish(job, 1)
    flights.client_left(1)
    assert flights.retry(2) is job


async def test_finished_images_are_not_kept_for_long(flights):
    job = flights.first(1)
    flights.client_left(1)
    flights.finish(job, 1)
    await asyncio.sleep(KEPT_SECONDS)
    assert flights.retry(2) is None


async def test_finished_images_never_take_more_than_their_share_of_the_memory(flights, monkeypatch):
    monkeypatch.setattr(single_flight, "MAX_KEPT_BYTES", 2 * len(b"pixels"))
    first, second, third = (flights.first(number) for number in (1, 2, 3))
    for job in (second, first, third):
        flights.client_left(job.id)
        flights.finish(job)
    assert [job.result is not None for job in (first, second, third)] == [True, False, True], "the first to end goes"


async def test_images_whose_client_was_answered_make_room_for_those_whose_client_left(flights, monkeypatch):
    monkeypatch.setattr(single_flight, "MAX_KEPT_BYTES", 2 * len(b"pixels"))
    left, answered, last = (flights.first(number) for number in (1, 2, 3))
    flights.client_left(1)
    flights.finish(left)
    flights.finish(answered, 2)
    flights.finish(last)
    assert [job.result is not None for job in (left, answered, last)] == [True, False, True]


async def test_images_that_are_larger_than_all_that_is_kept_leave_the_others_alone(flights, monkeypatch):
    kept, large = flights.first(1), flights.first(2)
    flights.client_left(1)
    flights.finish(kept)
    monkeypatch.setattr(single_flight, "MAX_KEPT_BYTES", len(b"pixels") - 1)
    flights.finish(large)
    assert (kept.result is not None, large.result) == (True, None)


async def test_images_that_nobody_may_come_back_for_are_not_kept(flights):
    job = Job(1, generation(), [], arrived=0.0, twin_key="twin")
    flights.add(job)
    assert flights.find(submit(2, None, twin_key="twin")) is job
    flights.finish(job, 1, 2)
    assert job.result is None
    assert flights.find(submit(3, None, twin_key="twin")) is None


async def test_a_refused_client_that_returns_does_not_take_its_neighbours_images(flights):
    flights.first(1)
    assert flights.find(submit(2, "a")) is None
    flights.answer(2, "failed")
    await asyncio.sleep(REFUSED_SECONDS - 1)
    assert flights.retry(3) is None


async def test_a_generation_that_failed_is_repeated(flights):
    job = flights.first(1)
    job.state = "failed"
    flights.end(job, None)
    flights.answer(1, "failed")
    assert flights.retry(2) is None


async def test_the_end_of_an_earlier_try_does_not_end_the_retry(flights):
    job = flights.first(1)
    flights.client_left(1)
    assert flights.retry(2) is job
    flights.answer(1, "cancelled")
    flights.client_left(2)
    assert flights.retry(3) is job


async def test_another_request_is_another_attempt(flights):
    flights.first(1)
    flights.client_left(1)
    assert flights.retry(2, "b") is None


async def test_the_dispatcher_works_for_a_client_that_left_until_it_would_have_come_back(harness):
    harness.dispatcher.submit(submit(1, "a"), harness.worker)
    harness.dispatcher.client_left(1)
    await asyncio.sleep(RETURN_SECONDS - 1)
    assert harness.engine.cancels == []
    await asyncio.sleep(1)
    assert (harness.engine.cancels, harness.worker.of(1)) == ([1], ["cancelled"])


async def test_the_dispatcher_gives_a_retry_the_images_of_the_attempt_that_it_repeats():
    harness, first = Harness(), submit(1, "a")
    harness.dispatcher.submit(first, harness.worker)
    harness.dispatcher.client_left(1)
    other_seed = generation(seed=first.generation.seed + 1)
    for retry, finished in ((2, False), (3, True)):
        if finished:
            harness.finish(1)
            harness.dispatcher.client_left(2)
        again = Submit(job=retry, generation=other_seed, timeout=60.0, retry_key="a", is_retry=True)
        harness.dispatcher.submit(again, harness.worker)
    assert harness.engine.runs == [1]
    assert [harness.worker.of(job)[-1] for job in (1, 2, 3)] == ["Finished"] * 3
    assert harness.worker.raw[-1] == b"pixels"
