"""The dispatcher's decisions, with a scripted engine and recording clients."""

import asyncio
from unittest.mock import AsyncMock

import pytest

from imageserver.dispatch.seats.seat import Seat
from imageserver.dispatch.snapshot_broadcast import INTERVAL_SECONDS
from imageserver.protocol.messages import AdmissionRequest, Finished
from tests.support.dispatch_harness import Harness, Recorder, ScriptedEngine


async def test_one_job_runs_and_the_others_wait_in_the_order_they_came(harness):
    harness.submit(1, 2, 3)
    assert harness.engine.runs == [1]
    harness.progress(1)
    harness.finish(1)
    harness.finish(2)
    harness.finish(3)
    assert harness.engine.runs == [1, 2, 3]
    assert harness.worker.of(1) == ["Started", "Progress", "Finished"]
    snapshot = harness.dispatcher.snapshot()
    assert (snapshot.total, snapshot.completed, snapshot.active, snapshot.queue_length) == (3, 3, 0, 0)


async def test_engine_with_room_gets_several_at_a_time():
    harness = Harness(room=2)
    harness.submit(1, 2, 3)
    assert harness.engine.running == [1, 2]
    harness.finish(2)
    assert harness.engine.running == [1, 3]


async def test_what_runs_counts_for_max_queue():
    harness = Harness(max_queue=2)
    harness.submit(1, 2, 3, 4)
    assert harness.worker.of(3) == harness.worker.of(4) == ["queue_full"]
    assert all(message.retry_after >= 1 for message in harness.worker.messages if hasattr(message, "retry_after"))
    harness.finish(1)
    harness.submit(5)
    assert harness.worker.of(5) == []


async def test_the_images_that_jobs_start_from_have_a_limit_of_their_own():
    harness = Harness(max_queue_mb=3)
    mib = bytes(2**20)
    harness.submit(1, 2, 3, 4, source=mib)
    assert harness.worker.of(4) == ["queue_full"]
    assert "MAX_QUEUE_MB" in harness.worker.messages[-1].sentence
    harness.submit(5)
    assert harness.worker.of(5) == []
    harness.finish(1)
    harness.submit(6, source=mib)
    assert harness.worker.of(6) == []


async def test_one_image_alone_may_be_larger_than_the_limit():
    harness = Harness(max_queue_mb=1)
    harness.submit(1, source=bytes(2**21))
    harness.submit(2, source=b"x")
    assert harness.engine.runs == [1]
    assert harness.worker.of(2) == ["queue_full"]


async def test_who_asks_for_admission_gets_the_refusal_that_its_generation_would_get():
    harness = Harness(max_queue=2, max_queue_mb=1)
    for number, source in ((1, b""), (2, bytes(2**20)), (3, b"")):
        harness.dispatcher.request_admission(AdmissionRequest(job=10 + number), harness.worker)
        harness.submit(number, source=source)
    assert harness.worker.of(11) == harness.worker.of(12) == ["Admitted"]
    assert harness.worker.of(13) == ["queue_full"]
    harness.finish(1)
    harness.dispatcher.request_admission(AdmissionRequest(job=14), harness.worker)
    assert harness.worker.of(14) == ["queue_full"]
    harness.finish(2)
    harness.dispatcher.request_admission(AdmissionRequest(job=15), harness.worker)
    assert harness.worker.of(15) == ["Admitted"]
    # Requests 3, 13 and 14 were refused; those that were admitted are not counted twice.
    snapshot = harness.dispatcher.snapshot()
    assert (snapshot.total, snapshot.failed) == (5, 3)


async def test_retry_after_is_learnt_from_the_device():
    harness = Harness(max_queue=1)
    harness.submit(1)
    harness.finish(1)  # it took two seconds
    harness.submit(2, 3)
    refusal = harness.worker.messages[-1]
    assert refusal.retry_after == 2.0


async def test_retry_after_is_the_shorter_the_more_engines_there_are():
    pauses = []
    for seats in (1, 2):
        harness = Harness(seats=seats, max_queue=8)
        harness.submit(1)
        harness.finish(1)
        harness.submit(*range(2, 10), 99)
        pauses.append(harness.worker.messages[-1].retry_after)
    assert pauses == [2.0, 1.0], "each generation takes two seconds"


async def test_what_works_for_a_seat_is_forgotten_when_the_seat_is_closed():
    harness = Harness()
    dispatcher, engine = harness.dispatcher, ScriptedEngine(room=1)
    stopped = asyncio.Event()
    engine.supervise = lambda _: stopped.wait()
    seat = Seat("card1", engine)
    dispatcher.open_seat(seat)
    dispatcher._idle.record_use(seat)
    tasks = len(dispatcher._tasks)
    stopped.set()
    await dispatcher.close_seat(seat)
    await asyncio.sleep(1)
    assert len(dispatcher._tasks) == tasks - 1
    assert seat not in dispatcher._idle._used


async def test_a_seat_whose_supervision_breaks_is_logged_and_the_server_still_stops(harness, caplog):
    harness.engine.supervise = AsyncMock(side_effect=RuntimeError("It has broken."))
    harness.dispatcher.watch(harness.seat.supervise(harness.dispatcher))
    await asyncio.sleep(1)
    [record] = caplog.records
    assert "Seat.supervise has ended with an error" in record.message
    assert str(record.exc_info[1]) == "It has broken."
    broken, other = ScriptedEngine(room=1), ScriptedEngine(room=1)
    broken.stop = AsyncMock(side_effect=RuntimeError("It does not stop."))
    harness.dispatcher.seats.add(Seat("card1", broken))
    harness.dispatcher.seats.add(Seat("card2", other))
    harness.dispatcher.start()
    await harness.dispatcher.stop()
    assert (other.has_stopped, len(harness.dispatcher._tasks)) == (True, 0)


async def test_queue_time_is_measured_by_the_dispatcher(harness):
    harness.submit(1, 2)
    await asyncio.sleep(3)
    harness.finish(1)
    harness.finish(2)
    ends = [message for message in harness.worker.messages if isinstance(message, Finished)]
    assert [(message.job, message.outcome.queue_time) for message in ends] == [(1, 0.0), (2, 3.0)]


@pytest.mark.fault(35)
async def test_deadline_of_a_waiting_job_passes_while_another_runs(harness):
    harness.submit(1)
    harness.submit(2, timeout=5)
    await asyncio.sleep(5)
    assert harness.worker.of(2) == ["deadline_exceeded"]
    assert (harness.engine.runs, harness.engine.cancels) == ([1], [])


async def test_deadline_of_a_running_job_stops_it_and_its_place_is_free_when_the_engine_says_so(harness):
    harness.submit(1, timeout=5)
    harness.submit(2)
    await asyncio.sleep(5)
    assert harness.worker.of(1) == ["deadline_exceeded"]
    assert (harness.engine.runs, harness.engine.cancels) == ([1], [1])
    harness.fail(1, "cancelled")
    assert harness.worker.of(1) == ["deadline_exceeded"]
    assert harness.engine.runs == [1, 2]


async def test_cancel_works_wherever_the_job_is_and_unknown_ones_are_ignored(harness):
    harness.submit(1, 2)
    for job in (2, 1, 1, 99):
        harness.dispatcher.cancel(job)
    assert harness.worker.of(1) == harness.worker.of(2) == ["cancelled"]
    assert harness.engine.cancels == [1]
    harness.fail(1, "cancelled")
    assert harness.dispatcher.snapshot().cancelled == 2
    assert harness.engine.runs == [1]


async def test_leaving_worker_takes_its_jobs_along_and_nobody_elses(harness):
    other = Recorder()
    harness.dispatcher.join(other)
    harness.submit(1, worker=other)
    harness.submit(2, worker=other)
    harness.submit(3)
    harness.dispatcher.leave(other)
    harness.fail(1, "cancelled")
    assert harness.engine.runs == [1, 3]


async def test_job_of_a_dead_engine_runs_again_before_all_others(harness):
    harness.submit(1, 2)
    harness.lose_engine()
    assert harness.worker.of(1) == []
    harness.revive()
    assert harness.engine.runs == [1, 1]
    harness.finish(1)
    assert harness.engine.runs == [1, 1, 2]


async def test_job_that_kills_two_engines_fails(harness):
    harness.submit(1, 2)
    for _ in range(2):
        harness.lose_engine()
        harness.revive()
    assert harness.worker.of(1) == ["engine_unavailable"]
    assert harness.engine.running == [2]


async def test_jobs_that_lost_an_engine_together_run_alone_from_then_on():
    harness = Harness(room=3)
    harness.submit(1, 2, 3)
    assert harness.engine.running == [1, 2, 3]
    harness.lose_engine()
    harness.revive()
    assert harness.engine.running == [1]
    harness.lose_engine()  # it was job 1
    harness.revive()
    assert harness.worker.of(1) == ["engine_unavailable"]
    assert harness.engine.running == [2]
    harness.submit(4)
    assert harness.engine.running == [2]
    harness.finish(2)
    harness.finish(3)
    assert harness.engine.running == [4]


async def test_job_that_an_engine_fell_silent_over_is_not_tried_again(harness):
    harness.submit(1, 2)
    harness.lose_engine(silent=True)
    harness.revive()
    assert harness.worker.of(1) == ["deadline_exceeded"]
    assert harness.engine.running == [2]


async def test_failed_engine_ends_what_waits_and_refuses_what_comes(harness):
    harness.engine.state = "loading"
    harness.submit(1)
    harness.engine.state, harness.engine.reason = "failed", "The model is broken."
    harness.dispatcher.engine_changed()
    harness.submit(2)
    assert harness.worker.of(1) == harness.worker.of(2) == ["engine_unavailable"]
    assert harness.dispatcher.snapshot().state == "degraded"


async def test_jobs_wait_while_the_model_loads_but_not_for_a_download(harness):
    harness.engine.state, harness.engine.phase = "loading", "loading"
    harness.submit(1)
    assert harness.worker.of(1) == []
    harness.engine.phase = "downloading"
    harness.submit(2)
    assert harness.worker.of(2) == ["loading"]
    harness.revive()
    assert harness.engine.running == [1]


async def test_change_of_state_is_told_before_any_answer_can_come(harness):
    harness.engine.state, harness.engine.ready = "loading", None
    harness.dispatcher.engine_changed()
    assert harness.worker.snapshots[-1].info is None
    harness.engine.state = "ready"
    harness.dispatcher.engine_changed()
    assert harness.worker.snapshots[-1].state == "healthy"


async def test_hundred_changes_make_few_snapshots():
    harness = Harness(max_queue=200)
    for job in range(100):
        harness.submit(job)
    await asyncio.sleep(INTERVAL_SECONDS)
    assert len(harness.worker.snapshots) <= 4
    assert harness.worker.snapshots[-1].queue_length == 99


async def test_what_did_not_fit_into_the_memory_alone_is_refused_at_once():
    harness = Harness(room=2)
    harness.submit(1, 2)
    harness.fail(1, code="out_of_memory")
    harness.submit(3)
    assert harness.worker.of(3) == [], "another one ran beside it, so it may fit alone"
    harness.fail(3, code="generation_failed")
    harness.fail(2, code="out_of_memory")
    harness.submit(4)
    assert harness.worker.of(4) == ["out_of_memory"]
    assert 4 not in harness.engine.runs
