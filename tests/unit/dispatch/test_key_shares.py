"""One key cannot fill the queue: others are admitted beside it, and its refusal says why."""

import pytest

from imageserver.protocol.messages import AdmissionRequest, Failed
from tests.support.dispatch_harness import Harness, Recorder


def refusals(worker: Recorder) -> list[Failed]:
    return [message for message in worker.messages if isinstance(message, Failed)]


async def test_a_key_that_is_alone_gets_three_quarters_of_the_queue():
    harness = Harness(max_queue=64)
    harness.submit(*range(64), credential="ann")
    assert len(harness.dispatcher.jobs) == 48
    refused = refusals(harness.worker)
    assert {failure.code for failure in refused} == {"queue_full"}
    assert refused[0].sentence.startswith("Your key has its share of the queue, 48 generations (MAX_QUEUE)")
    assert all((failure.retry_after or 0) >= 1 for failure in refused)


@pytest.mark.fault(43)
async def test_three_keys_with_more_than_the_queue_holds_leave_room_for_one_that_comes_later():
    harness = Harness(max_queue=64)
    for number in range(3):
        harness.submit(*range(100 * number, 100 * number + 64), credential=f"greedy {number}")
    assert len(harness.dispatcher.jobs) < 64
    harness.submit(9999, credential="late")
    assert harness.dispatcher.jobs.find(9999)


@pytest.mark.parametrize("max_queue", [1, 2, 3])
async def test_a_short_queue_serves_a_single_key_and_keeps_its_last_place_for_another(max_queue):
    harness = Harness(max_queue=max_queue)
    harness.submit(1, 2, 3, credential="ann")
    assert 1 <= len(harness.dispatcher.jobs) <= max(1, max_queue - 1)
    harness.submit(4, credential="bob")
    assert (harness.dispatcher.jobs.find(4) is not None) == (max_queue > 1)


async def test_a_server_without_keys_uses_its_whole_queue():
    harness = Harness(max_queue=8)
    harness.submit(*range(9))
    assert len(harness.dispatcher.jobs) == 8
    assert "The server is full" in refusals(harness.worker)[0].sentence


async def test_a_share_is_free_again_when_its_jobs_end():
    harness = Harness(max_queue=4)
    harness.submit(1, 2, 3, 4, credential="ann")
    held = len(harness.dispatcher.jobs)
    harness.finish(1)
    harness.submit(5, credential="ann")
    assert len(harness.dispatcher.jobs) == held
    assert harness.dispatcher.jobs.find(5)


async def test_requests_that_wait_for_a_model_take_from_the_share_too():
    harness = Harness(max_queue=4)
    for job in range(4):
        harness.request_model(job, load="other", prompt="x", credential="ann")
    assert harness.dispatcher.models.requests_of("ann") == 3
    harness.request_model(9, load="other", prompt="x", credential="bob")
    assert harness.dispatcher.models.requests_of("bob") == 1


async def test_the_images_of_one_key_do_not_fill_the_memory_of_the_queue():
    harness = Harness(max_queue_mb=8)
    harness.submit(*range(8), credential="ann", source=b"x" * 2**20)
    held = harness.dispatcher.jobs.source_bytes
    assert held == 6 * 2**20
    harness.submit(20, credential="bob", source=b"x" * 2**20)
    assert harness.dispatcher.jobs.find(20)
    [refused, _] = refusals(harness.worker)
    assert "images of 6 MiB (MAX_QUEUE_MB)" in refused.sentence


async def test_a_key_without_room_is_refused_before_its_image_is_decoded():
    harness = Harness(max_queue=4)
    harness.submit(1, 2, 3, 4, credential="ann")
    asked = Recorder()
    for job, credential in ((10, "ann"), (11, "bob")):
        harness.dispatcher.request_admission(AdmissionRequest(job=job, credential=credential), asked)
    assert [asked.of(10), asked.of(11)] == [["queue_full"], ["Admitted"]]
