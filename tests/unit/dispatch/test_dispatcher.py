"""The dispatcher's decisions, with an engine and listeners that do what they are told."""

import asyncio

from tests.unit.dispatch.conftest import Ear


def test_one_job_runs_and_the_others_wait_in_the_order_they_came(play):
    async def scene(stage):
        stage.submit(1, 2, 3)
        assert stage.engine.runs == [1]
        stage.progress(1)
        stage.finish(1)
        stage.finish(2)
        stage.finish(3)
        assert stage.engine.runs == [1, 2, 3]
        assert stage.ear.of(1) == ["Started", "Progress", "Finished"]
        snapshot = stage.dispatcher.snapshot()
        assert (snapshot.total, snapshot.completed, snapshot.active, snapshot.queue_length) == (3, 3, 0, 0)

    play(scene)


def test_engine_with_room_gets_several_at_a_time(play):
    async def scene(stage):
        stage.submit(1, 2, 3)
        assert stage.engine.running == [1, 2]
        stage.finish(2)
        assert stage.engine.running == [1, 3]

    play(scene, room=2)


def test_what_runs_counts_for_max_queue(play):
    async def scene(stage):
        stage.submit(1, 2, 3, 4)
        assert stage.ear.of(3) == stage.ear.of(4) == ["queue_full"]
        assert all(message.retry_after >= 1 for message in stage.ear.heard if hasattr(message, "retry_after"))
        stage.finish(1)
        stage.submit(5)
        assert stage.ear.of(5) == []

    play(scene, max_queue=2)


def test_retry_after_is_learnt_from_the_device(play):
    async def scene(stage):
        stage.submit(1)
        stage.finish(1)  # it took two seconds
        stage.submit(2, 3)
        refusal = stage.ear.heard[-1]
        assert 1.9 < refusal.retry_after < 2.1

    play(scene, max_queue=1)


def test_queue_time_is_measured_by_the_dispatcher(play):
    async def scene(stage):
        stage.submit(1, 2)
        await asyncio.sleep(0.1)
        stage.finish(1)
        stage.finish(2)
        waits = {message.job: message.outcome.queue_time for message in stage.ear.heard if hasattr(message, "outcome")}
        assert waits[1] < 0.05
        assert waits[2] >= 0.1

    play(scene)


def test_deadline_of_a_waiting_job_passes_while_another_runs(play):
    async def scene(stage):
        stage.submit(1)
        stage.submit(2, timeout=0.05)
        await asyncio.sleep(0.15)
        assert stage.ear.of(2) == ["deadline_exceeded"]
        assert (stage.engine.runs, stage.engine.cancels) == ([1], [])

    play(scene)


def test_deadline_of_a_running_job_stops_it_and_its_place_is_free_when_the_engine_says_so(play):
    async def scene(stage):
        stage.submit(1, timeout=0.05)
        stage.submit(2)
        await asyncio.sleep(0.15)
        assert stage.ear.of(1) == ["deadline_exceeded"]
        assert (stage.engine.runs, stage.engine.cancels) == ([1], [1])
        stage.fail(1, "cancelled")
        assert stage.ear.of(1) == ["deadline_exceeded"]
        assert stage.engine.runs == [1, 2]

    play(scene)


def test_cancel_works_wherever_the_job_is_and_unknown_ones_are_ignored(play):
    async def scene(stage):
        stage.submit(1, 2)
        for job in (2, 1, 1, 99):
            stage.dispatcher.cancel(job)
        assert stage.ear.of(1) == stage.ear.of(2) == ["cancelled"]
        assert stage.engine.cancels == [1]
        stage.fail(1, "cancelled")
        assert stage.dispatcher.snapshot().cancelled == 2
        assert stage.engine.runs == [1]

    play(scene)


def test_leaving_worker_takes_its_jobs_along_and_nobody_elses(play):
    async def scene(stage):
        other = Ear()
        stage.dispatcher.join(other)
        stage.submit(1, ear=other)
        stage.submit(2, ear=other)
        stage.submit(3)
        stage.dispatcher.leave(other)
        stage.fail(1, "cancelled")
        assert stage.engine.runs == [1, 3]

    play(scene)


def test_job_of_a_dead_engine_runs_again_before_all_others(play):
    async def scene(stage):
        stage.submit(1, 2)
        stage.lose_engine()
        assert stage.ear.of(1) == []
        stage.revive()
        assert stage.engine.runs == [1, 1]
        stage.finish(1)
        assert stage.engine.runs == [1, 1, 2]

    play(scene)


def test_job_that_kills_two_engines_fails(play):
    async def scene(stage):
        stage.submit(1, 2)
        for _ in range(2):
            stage.lose_engine()
            stage.revive()
        assert stage.ear.of(1) == ["engine_unavailable"]
        assert stage.engine.running == [2]

    play(scene)


def test_jobs_that_lost_an_engine_together_run_alone_from_then_on(play):
    async def scene(stage):
        stage.submit(1, 2, 3)
        assert stage.engine.running == [1, 2, 3]
        stage.lose_engine()
        stage.revive()
        assert stage.engine.running == [1]
        stage.lose_engine()  # it was job 1
        stage.revive()
        assert stage.ear.of(1) == ["engine_unavailable"]
        assert stage.engine.running == [2]
        stage.submit(4)
        assert stage.engine.running == [2]
        stage.finish(2)
        stage.finish(3)
        assert stage.engine.running == [4]

    play(scene, room=3)


def test_job_that_an_engine_fell_silent_over_is_not_tried_again(play):
    async def scene(stage):
        stage.submit(1, 2)
        stage.lose_engine(silent=True)
        stage.revive()
        assert stage.ear.of(1) == ["deadline_exceeded"]
        assert stage.engine.running == [2]

    play(scene)


def test_failed_engine_ends_what_waits_and_refuses_what_comes(play):
    async def scene(stage):
        stage.engine.state = "loading"
        stage.submit(1)
        stage.engine.state, stage.engine.reason = "failed", "The model is broken."
        stage.dispatcher.engine_changed()
        stage.submit(2)
        assert stage.ear.of(1) == stage.ear.of(2) == ["engine_unavailable"]
        assert stage.dispatcher.snapshot().state == "degraded"

    play(scene)


def test_jobs_wait_while_the_model_loads_but_not_for_a_download(play):
    async def scene(stage):
        stage.engine.state, stage.engine.phase = "loading", "loading"
        stage.submit(1)
        assert stage.ear.of(1) == []
        stage.engine.phase = "downloading"
        stage.submit(2)
        assert stage.ear.of(2) == ["loading"]
        stage.revive()
        assert stage.engine.running == [1]

    play(scene)


def test_change_of_state_is_told_before_any_answer_can_come(play):
    async def scene(stage):
        stage.engine.state, stage.engine.ready = "loading", None
        stage.dispatcher.engine_changed()
        assert stage.ear.snapshots[-1].info is None
        stage.engine.state, stage.engine.ready = "ready", stage.engine.ready
        stage.dispatcher.engine_changed()
        assert stage.ear.snapshots[-1].state == "healthy"

    play(scene)


def test_hundred_changes_make_few_snapshots(play):
    async def scene(stage):
        for job in range(100):
            stage.submit(job)
        await asyncio.sleep(0.15)
        assert len(stage.ear.snapshots) <= 4
        assert stage.ear.snapshots[-1].queue_length == 99

    play(scene, max_queue=200)


def test_what_did_not_fit_into_the_memory_alone_is_refused_at_the_door(play):
    async def scene(stage):
        stage.submit(1, 2)
        stage.fail(1, code="out_of_memory")
        stage.submit(3)
        assert stage.ear.of(3) == [], "another one ran beside it, so it may fit alone"
        stage.fail(3, code="generation_failed")
        stage.fail(2, code="out_of_memory")
        stage.submit(4)
        assert stage.ear.of(4) == ["out_of_memory"]
        assert 4 not in stage.engine.runs

    play(scene, room=2)
