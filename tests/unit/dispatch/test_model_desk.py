"""Models are loaded one at a time, for clients and for the job whose turn it is."""

from imageserver.messages import (
    AskModel,
    Failed,
    JobEvent,
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


def test_nothing_else_begins_while_a_model_waits_for_room_but_while_it_is_downloaded(play):
    async def scene(stage):
        stage.submit(1, model="other")
        stage.submit(2)
        assert stage.engine.runs == []
        stage.engine.loading = Loading(phase="downloading", sentence="", fraction=0.1)
        stage.dispatcher.model_progress(stage.engine.loading)
        assert stage.engine.runs == [], "the job that waits for the model has its turn first"

    play(scene, room=2)


def test_jobs_of_loaded_models_go_on_during_a_download_that_somebody_asked_for(play):
    async def scene(stage):
        ask(stage, 9, load="large", fetch=True)
        assert stage.engine.told == [LoadModel(job=1, name="large", fetch=True)]
        stage.engine.loading = Loading(phase="downloading", sentence="", fraction=0.1)
        stage.dispatcher.model_progress(stage.engine.loading)
        stage.submit(1)
        assert stage.engine.runs == [1]

    play(scene, room=2)


def test_a_job_of_the_very_model_that_is_fetched_again_waits_for_it(play):
    async def scene(stage):
        stage.hold("scripted", "large")
        stage.hold("scripted")
        ask(stage, 9, load="large", fetch=True)
        stage.engine.loading = Loading(phase="downloading", sentence="", fraction=0.1)
        stage.dispatcher.model_progress(stage.engine.loading)
        stage.submit(1, model="large")
        assert stage.engine.runs == []
        stage.hold("scripted", "large", job=1)
        assert stage.engine.runs == [1]

    play(scene, room=2)


def test_a_job_that_waits_for_a_download_keeps_no_other_waiting(play):
    async def scene(stage):
        stage.hold("scripted", "large", "other")
        stage.hold("scripted")
        ask(stage, 9, load="large", fetch=True)
        stage.engine.loading = Loading(phase="downloading", sentence="", fraction=0.1)
        stage.dispatcher.model_progress(stage.engine.loading)
        stage.submit(1, model="large")
        stage.submit(2, model="other")
        stage.submit(3, 4)
        assert stage.engine.runs == [3]
        stage.finish(3)
        assert stage.engine.runs == [3, 4]
        stage.finish(4)
        stage.hold("scripted", "large", job=1)
        assert stage.engine.models[2:] == ["large"]

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
        stage.dispatcher.model_progress(Loading(phase="downloading", sentence="", fraction=0.25))
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
        stage.hold("scripted", job=1, failure=refused(1, "It is not on the disk."))
        assert [message.code for message in answers(hurried)] == ["model_unloadable"]
        assert answers(patient) == []
        assert stage.engine.told[-1] == LoadModel(job=2, name="far", fetch=True)

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


def test_a_load_is_a_job_that_can_be_watched_and_left(play):
    async def scene(stage):
        from imageserver.dispatch.inquiries import Inquiries

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
