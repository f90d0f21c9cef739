"""Models are loaded one at a time, for clients and for the job whose turn it is; files are fetched beside that."""

import asyncio

from imageserver.dispatch import ledger
from imageserver.dispatch.inquiries import Inquiries
from imageserver.dispatch.model_desk import ModelDesk
from imageserver.messages import (
    AskModel,
    Failed,
    FetchModel,
    JobEvent,
    JobList,
    ListJobs,
    Loading,
    LoadModel,
    ModelAnswer,
    Progress,
    UnloadModel,
    Watch,
)
from tests.unit.dispatch.conftest import Ear


def refused(job, sentence="It is broken."):
    return Failed(job=job, code="model_unloadable", sentence=sentence, param="model")


def ask(stage, job, ear=None, **wanted):
    stage.dispatcher.ask_model(AskModel(job=job, **wanted), ear or stage.ear)


def arrives(stage, job, share=0.1):
    """Let the engine say that a part of a model's files has come."""
    stage.dispatcher.model_progress(Loading(job=job, phase="downloading", sentence="It arrives.", fraction=share))


def answers(ear):
    return [message for message in ear.heard if isinstance(message, ModelAnswer | Failed)]


def test_a_job_of_a_model_that_is_not_there_waits_for_it(play):
    async def scene(stage):
        stage.submit(1, model="other")
        assert stage.engine.told == [LoadModel(job=1, name="other")]
        assert stage.engine.runs == []
        stage.hold("scripted", "other", job=1)
        assert stage.engine.runs == [1]
        assert stage.engine.models == ["other"]

    play(scene)


def test_jobs_that_name_no_model_get_the_usual_one(play):
    async def scene(stage):
        stage.submit(1)
        assert stage.engine.models == ["scripted"]

    play(scene)


def test_nothing_else_begins_while_a_model_waits_for_room(play):
    async def scene(stage):
        stage.submit(1, model="other")
        stage.submit(2)
        assert stage.engine.runs == []
        stage.hold("scripted", "other", job=1)
        assert stage.engine.runs == [1, 2]

    play(scene, room=2)


def test_what_somebody_asks_for_is_fetched_first_and_then_loaded(play):
    async def scene(stage):
        ask(stage, 9, load="large", fetch=True)
        assert stage.engine.told == [FetchModel(job=1, name="large")]
        arrives(stage, 1)
        stage.fetched(1)
        assert stage.engine.told[1:] == [LoadModel(job=2, name="large")]
        stage.hold("scripted", "large", job=2)
        [answer] = answers(stage.ear)
        assert answer.facts.name == "large"
        assert stage.ear.of(9) == ["Started", "Progress", "ModelAnswer"]

    play(scene)


def test_jobs_of_loaded_models_go_on_during_a_download(play):
    async def scene(stage):
        ask(stage, 9, load="large", fetch=True)
        arrives(stage, 1)
        stage.submit(1)
        assert stage.engine.runs == [1]

    play(scene, room=2)


def test_a_download_keeps_no_model_that_is_on_the_disk_waiting(play):
    async def scene(stage):
        ask(stage, 8, load="large", fetch=True)
        arrives(stage, 1)
        ask(stage, 9, load="other", fetch=True)
        assert stage.engine.told[1:] == [FetchModel(job=2, name="other")]
        stage.fetched(2)
        assert stage.engine.told[2:] == [LoadModel(job=3, name="other")]
        stage.hold("scripted", "other", job=3)
        assert [answer.job for answer in answers(stage.ear)] == [9]
        stage.submit(1, model="third")
        assert stage.engine.told[3:] == [LoadModel(job=4, name="third")]

    play(scene)


def test_no_more_than_four_downloads_go_on_at_a_time(play):
    async def scene(stage):
        for job, name in enumerate("abcde", 1):
            ask(stage, job, load=name, fetch=True)
        assert [message.name for message in stage.engine.told] == ["a", "b", "c", "d"]
        stage.fetched(3, failure=refused(3))
        assert stage.engine.told[-1] == FetchModel(job=5, name="e")

    play(scene)


def test_a_download_that_fails_refuses_those_who_wait_for_it(play):
    async def scene(stage):
        ask(stage, 1, load="far", fetch=True)
        arrives(stage, 1)
        assert stage.dispatcher.snapshot().phase == "downloading"
        stage.fetched(1, failure=refused(1, "There is no such id."))
        assert [message.sentence for message in answers(stage.ear)] == ["There is no such id."]
        assert stage.dispatcher.snapshot().phase == "ready"
        assert len(stage.engine.told) == 1

    play(scene)


def test_who_may_not_fetch_waits_for_a_download_that_is_under_way(play):
    async def scene(stage):
        ask(stage, 1, load="large", fetch=True)
        ask(stage, 2, load="large")
        assert stage.engine.told == [FetchModel(job=1, name="large")], "half of its files are no model"
        stage.fetched(1)
        stage.hold("scripted", "large", job=2)
        assert [answer.job for answer in answers(stage.ear)] == [1, 2]

    play(scene)


def test_a_job_of_the_very_model_that_is_fetched_again_waits_for_it(play):
    async def scene(stage):
        stage.hold("scripted", "large")
        stage.hold("scripted")
        ask(stage, 9, load="large", fetch=True)
        stage.submit(1, model="large")
        assert stage.engine.runs == []
        stage.fetched(1)
        stage.hold("scripted", "large", job=2)
        assert stage.engine.runs == [1]

    play(scene, room=2)


def test_a_job_that_waits_for_a_download_keeps_no_other_waiting(play):
    async def scene(stage):
        stage.hold("scripted", "large", "other")
        stage.hold("scripted")
        ask(stage, 9, load="large", fetch=True)
        stage.submit(1, model="large")
        stage.submit(2, model="other")
        stage.hold("scripted", "other", job=2)
        assert stage.engine.runs == [2]
        stage.submit(3)
        stage.finish(2)
        assert stage.engine.runs == [2, 3]
        stage.finish(3)
        stage.fetched(1)
        stage.hold("scripted", "large", job=3)
        assert stage.engine.models[2:] == ["large"]

    play(scene)


def test_an_engine_that_dies_during_a_download_leaves_nobody_waiting(play):
    async def scene(stage):
        ask(stage, 1, load="large", fetch=True)
        arrives(stage, 1)
        stage.lose_engine()
        assert stage.ear.of(1)[-1] == "engine_unavailable"
        assert stage.dispatcher.models.download is None
        stage.revive()
        ask(stage, 2, load="large", fetch=True)
        assert stage.engine.told[-1] == FetchModel(job=2, name="large")

    play(scene)


def test_a_model_that_cannot_be_loaded_fails_its_jobs_alone(play):
    async def scene(stage):
        stage.submit(1, model="broken")
        stage.submit(2)
        stage.hold("scripted", job=1, failure=refused(1))
        assert stage.ear.of(1) == ["model_unloadable"]
        assert stage.engine.runs == [2]

    play(scene)


def test_two_that_ask_for_one_model_share_its_load_and_hear_how_far_it_is(play):
    async def scene(stage):
        first, second = Ear(), Ear()
        ask(stage, 1, first, load="other")
        ask(stage, 2, second, load="other")
        assert len(stage.engine.told) == 1
        stage.dispatcher.model_progress(Loading(job=1, phase="loading", sentence="", fraction=0.25))
        stage.hold("scripted", "other", job=1)
        for job, ear in ((1, first), (2, second)):
            assert Progress(job=job, step=25, total=100) in ear.heard
            [answer] = answers(ear)
            assert (answer.job, answer.facts.name) == (job, "other")

    play(scene)


def test_loads_come_one_after_the_other(play):
    async def scene(stage):
        ask(stage, 1, load="a")
        ask(stage, 2, load="b")
        assert [message.name for message in stage.engine.told] == ["a"]
        stage.hold("scripted", "a", job=1)
        assert [message.name for message in stage.engine.told] == ["a", "b"]

    play(scene)


def test_who_may_fetch_is_not_refused_because_another_may_not(play):
    async def scene(stage):
        patient, hurried = Ear(), Ear()
        ask(stage, 1, hurried, load="far")
        ask(stage, 2, patient, load="far", fetch=True)
        assert stage.engine.told == [LoadModel(job=1, name="far")]
        stage.hold("scripted", job=1, failure=refused(1, "It is not on the disk."))
        assert [message.code for message in answers(hurried)] == ["model_unloadable"]
        assert answers(patient) == []
        assert stage.engine.told[1:] == [FetchModel(job=2, name="far")]

    play(scene)


def test_a_loaded_model_becomes_the_usual_one_where_that_is_asked_and_everybody_knows_before_the_answer(play):
    async def scene(stage):
        ask(stage, 1, load="other", default=True)
        stage.hold("scripted", "other", job=1)
        heard = [message for message in stage.ear.heard if message in (*stage.ear.snapshots, *answers(stage.ear))]
        [answer] = answers(stage.ear)
        assert any(message.facts.name == "other" for message in heard[: heard.index(answer)])
        stage.submit(5)
        assert stage.engine.models == ["other"]
        assert stage.engine.model == "other", "a new engine begins with it"

    play(scene)


def test_a_load_that_fails_leaves_the_usual_model(play):
    async def scene(stage):
        ask(stage, 1, load="broken", default=True)
        stage.hold("scripted", job=1, failure=refused(1))
        assert [message.code for message in answers(stage.ear)] == ["model_unloadable"]
        stage.submit(5)
        assert (stage.engine.models, stage.engine.model) == (["scripted"], "")

    play(scene)


def test_a_model_that_is_there_already_is_answered_at_once(play):
    async def scene(stage):
        stage.hold("scripted", "other")
        ask(stage, 1, load="other", default=True)
        assert stage.engine.told == []
        [answer] = answers(stage.ear)
        assert answer.facts.name == "other"
        assert stage.dispatcher.snapshot().facts.name == "other"

    play(scene)


def test_an_engine_that_dies_over_a_model_takes_that_models_jobs_along_and_no_others(play):
    async def scene(stage):
        stage.submit(1, model="heavy")
        stage.submit(2)
        ask(stage, 3, load="heavy")
        stage.lose_engine()
        assert stage.ear.of(1) == ["engine_unavailable"]
        assert stage.ear.of(3)[-1] == "engine_unavailable"
        stage.revive()
        assert stage.engine.runs == [2]

    play(scene)


def test_after_an_engines_death_a_model_that_it_held_is_loaded_again_for_its_jobs(play):
    async def scene(stage):
        stage.hold("scripted", "other")
        stage.submit(1, model="other")
        stage.lose_engine()
        stage.revive()
        assert [message.name for message in stage.engine.told] == ["other"]
        stage.hold("scripted", "other", job=1)
        assert stage.engine.runs == [1, 1]

    play(scene)


def test_a_job_that_comes_after_an_unload_has_its_model_loaded_again(play):
    async def scene(stage):
        ask(stage, 9, unload="scripted")
        stage.submit(1)
        assert stage.engine.runs == []
        unload, load = stage.engine.told
        assert (type(unload), type(load)) == (UnloadModel, LoadModel)
        stage.hold(job=unload.job)
        assert stage.engine.runs == []
        stage.hold("scripted", job=load.job)
        assert stage.engine.runs == [1]

    play(scene)


def test_unloading_is_passed_on_and_its_refusal_too(play):
    async def scene(stage):
        ask(stage, 1, unload="scripted")
        ask(stage, 2, unload="scripted")
        first, second = stage.engine.told
        assert isinstance(first, UnloadModel)
        stage.hold("scripted", job=first.job, failure=Failed(job=1, code="busy", sentence="It is in use."))
        stage.hold(job=second.job)
        told = [getattr(message, "code", message.job) for message in answers(stage.ear)]
        assert told == ["busy", 2]
        assert stage.dispatcher.snapshot().held == ()
        assert stage.dispatcher.snapshot().facts.name == "scripted", "it stays the usual one"
        stage.submit(5)
        assert isinstance(stage.engine.told[-1], LoadModel), "and is loaded again when it is wanted"

    play(scene)


def test_before_the_first_model_is_there_no_other_is_loaded(play):
    async def scene(stage):
        stage.engine.state = "loading"
        ask(stage, 1, load="other")
        assert [message.code for message in answers(stage.ear)] == ["loading"]

    play(scene)


def test_requests_for_the_first_model_wait_for_it_through_crashes_and_hear_what_it_is(play):
    async def scene(stage):
        stage.dispatcher.models = ModelDesk(stage.engine, stage.dispatcher.ledger)
        stage.engine.state = "loading"
        ask(stage, 1, prompt="a red circle")
        assert stage.dispatcher.snapshot().queue_length == 1
        stage.lose_engine()
        assert answers(stage.ear) == []
        stage.revive()
        [answer] = answers(stage.ear)
        assert (answer.job, answer.facts.name) == (1, "scripted")
        assert stage.dispatcher.snapshot().queue_length == 0
        assert stage.engine.told == [], "it is loaded without that"
        ask(stage, 2, prompt="one whose worker has not heard of it yet")
        assert [answer.job for answer in answers(stage.ear)] == [1, 2]

    play(scene)


def test_requests_for_a_first_model_that_will_never_come_are_told_why(play):
    async def scene(stage):
        stage.engine.state = "loading"
        ask(stage, 1, prompt="a red circle")
        stage.engine.state, stage.engine.reason = "failed", "The weights are gone."
        stage.dispatcher.engine_lost(silent=False)
        ask(stage, 2, prompt="another")
        told = [(answer.code, answer.sentence) for answer in answers(stage.ear)]
        assert told == [("engine_unavailable", "The weights are gone.")] * 2

    play(scene)


def test_requests_that_wait_for_their_model_take_places_in_the_queue(play):
    async def scene(stage):
        stage.engine.state = "loading"
        for job in (1, 2, 3):
            ask(stage, job, prompt="a red circle")
        assert [(answer.job, answer.code) for answer in answers(stage.ear)] == [(3, "queue_full")]

    play(scene, max_queue=2)


def test_a_load_is_a_job_that_can_be_watched_and_left(play):
    async def scene(stage):
        watcher = Ear()
        ask(stage, 1, load="other")
        ask(stage, 2, load="other")
        desk = Inquiries(stage.dispatcher)
        desk.watch(Watch(job=90, wanted=1), watcher)
        stage.dispatcher.cancel(2)
        assert stage.ear.of(2)[-1] == "cancelled"
        stage.hold("scripted", "other", job=1)
        events = [(message.name, message.status.kind) for message in watcher.heard if isinstance(message, JobEvent)]
        assert events == [("started", "model"), ("completed", "model")]

    play(scene)


def state_of(stage, job):
    ear = Ear()
    Inquiries(stage.dispatcher).list_jobs(ListJobs(job=99, wanted=job), ear)
    [answer] = ear.heard
    assert isinstance(answer, JobList)
    return answer.jobs[0].state if answer.jobs else None


def test_a_request_that_asks_for_nothing_once_its_model_is_there_is_no_job_for_ever(play, monkeypatch):
    monkeypatch.setattr(ledger, "PATIENCE", 0.01)

    async def scene(stage):
        ask(stage, 1, load="other", prompt="refused when its model is known")
        ask(stage, 2, load="other", prompt="drawn")
        stage.hold("scripted", "other", job=1)
        stage.submit(2, model="other")
        assert [state_of(stage, job) for job in (1, 2)] == ["queued", "queued"]
        await asyncio.sleep(0.1)
        assert [state_of(stage, job) for job in (1, 2)] == ["cancelled", "queued"]

    play(scene)


def test_requests_that_wait_for_their_model_count_against_max_queue(play):
    async def scene(stage):
        for job in (1, 2, 3):
            ask(stage, job, load="other", prompt="x")
        stage.submit(4)
        assert [stage.ear.of(job)[-1:] for job in (3, 4)] == [["queue_full"]] * 2
        assert "queue_full" not in stage.ear.of(1) + stage.ear.of(2)
        ask(stage, 5, load="third", fetch=True)
        assert "queue_full" not in stage.ear.of(5), "what prepares a model is no generation"
        stage.hold("scripted", "other", job=1)
        stage.submit(1, 2, model="other")
        assert "queue_full" not in stage.ear.of(1) + stage.ear.of(2)

    play(scene, max_queue=2)
