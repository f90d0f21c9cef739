"""Models are loaded one at a time, for clients and for the job whose turn it is; files are fetched beside that."""

from imageserver.dispatch.job_queries import JobQueries
from imageserver.protocol.messages import (
    Failed,
    FetchModel,
    JobEvent,
    LoadModel,
    LoadProgress,
    Progress,
    UnloadModel,
    Watch,
)
from tests.unit.dispatch.conftest import Ear


def refused(job, sentence="It is broken."):
    return Failed(job=job, code="model_unloadable", sentence=sentence, param="model")


def arrives(stage, job, share=0.1):
    """Let the engine say that a part of a model's files has come."""
    stage.dispatcher.model_progress(LoadProgress(job=job, phase="downloading", sentence="It arrives.", fraction=share))


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
        stage.ask(9, load="large", fetch=True)
        assert stage.engine.told == [FetchModel(job=1, name="large")]
        arrives(stage, 1)
        stage.fetched(1)
        assert stage.engine.told[1:] == [LoadModel(job=2, name="large")]
        stage.hold("scripted", "large", job=2)
        [answer] = stage.ear.answers
        assert answer.info.name == "large"
        assert stage.ear.of(9) == ["Started", "Progress", "ModelResponse"]

    play(scene)


def test_jobs_of_loaded_models_go_on_during_a_download(play):
    async def scene(stage):
        stage.ask(9, load="large", fetch=True)
        arrives(stage, 1)
        stage.submit(1)
        assert stage.engine.runs == [1]

    play(scene, room=2)


def test_a_download_keeps_no_model_that_is_on_the_disk_waiting(play):
    async def scene(stage):
        stage.ask(8, load="large", fetch=True)
        arrives(stage, 1)
        stage.ask(9, load="other", fetch=True)
        assert stage.engine.told[1:] == [FetchModel(job=2, name="other")]
        stage.fetched(2)
        assert stage.engine.told[2:] == [LoadModel(job=3, name="other")]
        stage.hold("scripted", "other", job=3)
        assert [answer.job for answer in stage.ear.answers] == [9]
        stage.submit(1, model="third")
        assert stage.engine.told[3:] == [LoadModel(job=4, name="third")]

    play(scene)


def test_no_more_than_four_downloads_go_on_at_a_time(play):
    async def scene(stage):
        for job, name in enumerate("abcde", 1):
            stage.ask(job, load=name, fetch=True)
        assert [message.name for message in stage.engine.told] == ["a", "b", "c", "d"]
        stage.fetched(3, failure=refused(3))
        assert stage.engine.told[-1] == FetchModel(job=5, name="e")

    play(scene)


def test_a_download_that_fails_refuses_those_who_wait_for_it(play):
    async def scene(stage):
        stage.ask(1, load="far", fetch=True)
        arrives(stage, 1)
        assert stage.dispatcher.snapshot().phase == "downloading"
        stage.fetched(1, failure=refused(1, "There is no such id."))
        assert [message.sentence for message in stage.ear.answers] == ["There is no such id."]
        assert stage.dispatcher.snapshot().phase == "ready"
        assert len(stage.engine.told) == 1

    play(scene)


def test_who_may_not_fetch_waits_for_a_download_that_is_under_way(play):
    async def scene(stage):
        stage.ask(1, load="large", fetch=True)
        stage.ask(2, load="large")
        assert stage.engine.told == [FetchModel(job=1, name="large")], "half of its files are no model"
        stage.fetched(1)
        stage.hold("scripted", "large", job=2)
        assert [answer.job for answer in stage.ear.answers] == [1, 2]

    play(scene)


def test_a_job_of_the_very_model_that_is_fetched_again_waits_for_it(play):
    async def scene(stage):
        stage.hold("scripted", "large")
        stage.hold("scripted")
        stage.ask(9, load="large", fetch=True)
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
        stage.ask(9, load="large", fetch=True)
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
        stage.ask(1, load="large", fetch=True)
        arrives(stage, 1)
        stage.lose_engine()
        assert stage.ear.of(1)[-1] == "engine_unavailable"
        assert stage.dispatcher.models.download is None
        stage.revive()
        stage.ask(2, load="large", fetch=True)
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
        stage.ask(1, first, load="other")
        stage.ask(2, second, load="other")
        assert len(stage.engine.told) == 1
        stage.dispatcher.model_progress(LoadProgress(job=1, phase="loading", sentence="", fraction=0.25))
        stage.hold("scripted", "other", job=1)
        for job, ear in ((1, first), (2, second)):
            assert Progress(job=job, step=25, total=100) in ear.heard
            [answer] = ear.answers
            assert (answer.job, answer.info.name) == (job, "other")

    play(scene)


def test_loads_come_one_after_the_other(play):
    async def scene(stage):
        stage.ask(1, load="a")
        stage.ask(2, load="b")
        assert [message.name for message in stage.engine.told] == ["a"]
        stage.hold("scripted", "a", job=1)
        assert [message.name for message in stage.engine.told] == ["a", "b"]

    play(scene)


def test_who_may_fetch_is_not_refused_because_another_may_not(play):
    async def scene(stage):
        patient, hurried = Ear(), Ear()
        stage.ask(1, hurried, load="far")
        stage.ask(2, patient, load="far", fetch=True)
        assert stage.engine.told == [LoadModel(job=1, name="far")]
        stage.hold("scripted", job=1, failure=refused(1, "It is not on the disk."))
        assert [message.code for message in hurried.answers] == ["model_unloadable"]
        assert patient.answers == []
        assert stage.engine.told[1:] == [FetchModel(job=2, name="far")]

    play(scene)


def test_a_loaded_model_becomes_the_usual_one_where_that_is_asked_and_everybody_knows_before_the_answer(play):
    async def scene(stage):
        stage.ask(1, load="other", default=True)
        stage.hold("scripted", "other", job=1)
        heard = [message for message in stage.ear.heard if message in (*stage.ear.snapshots, *stage.ear.answers)]
        [answer] = stage.ear.answers
        assert any(message.info.name == "other" for message in heard[: heard.index(answer)])
        stage.submit(5)
        assert stage.engine.models == ["other"]
        assert stage.engine.model == "other", "a new engine begins with it"

    play(scene)


def test_a_load_that_fails_leaves_the_usual_model(play):
    async def scene(stage):
        stage.ask(1, load="broken", default=True)
        stage.hold("scripted", job=1, failure=refused(1))
        assert [message.code for message in stage.ear.answers] == ["model_unloadable"]
        stage.submit(5)
        assert (stage.engine.models, stage.engine.model) == (["scripted"], "")

    play(scene)


def test_a_model_that_is_there_already_is_answered_at_once(play):
    async def scene(stage):
        stage.hold("scripted", "other")
        stage.ask(1, load="other", default=True)
        assert stage.engine.told == []
        [answer] = stage.ear.answers
        assert answer.info.name == "other"
        assert stage.dispatcher.snapshot().info.name == "other"

    play(scene)


def test_an_engine_that_dies_over_a_model_takes_that_models_jobs_along_and_no_others(play):
    async def scene(stage):
        stage.submit(1, model="heavy")
        stage.submit(2)
        stage.ask(3, load="heavy")
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
        stage.ask(9, unload="scripted")
        stage.submit(1)
        assert stage.engine.runs == []
        unload, load = stage.engine.told
        assert (type(unload), type(load)) == (UnloadModel, LoadModel)
        stage.hold(job=unload.job)
        assert stage.engine.runs == []
        stage.hold("scripted", job=load.job)
        assert stage.engine.runs == [1]

    play(scene)


def test_a_model_that_is_about_to_leave_counts_as_gone_whatever_else_the_engine_says_first(play):
    async def scene(stage):
        stage.ask(8, load="other")
        stage.ask(9, unload="scripted")
        stage.hold("scripted", "other", job=1)
        stage.submit(1)
        assert stage.engine.runs == []
        assert stage.engine.told[-1] == LoadModel(job=3, name="scripted")

    play(scene)


def test_half_of_a_models_files_are_not_loaded_for_one_who_asked_before_the_download(play):
    async def scene(stage):
        stage.ask(7, load="slow")
        stage.ask(8, load="large")
        stage.ask(9, load="large", fetch=True)
        assert stage.engine.told[-1] == FetchModel(job=2, name="large")
        stage.hold("scripted", "slow", job=1)
        assert len(stage.engine.told) == 2, "it is being fetched"
        stage.fetched(2)
        assert stage.engine.told[-1] == LoadModel(job=3, name="large")

    play(scene)


def test_unloading_is_passed_on_and_its_refusal_too(play):
    async def scene(stage):
        stage.ask(1, unload="scripted")
        stage.ask(2, unload="scripted")
        first, second = stage.engine.told
        assert isinstance(first, UnloadModel)
        stage.hold("scripted", job=first.job, failure=Failed(job=1, code="busy", sentence="It is in use."))
        stage.hold(job=second.job)
        told = [getattr(message, "code", message.job) for message in stage.ear.answers]
        assert told == ["busy", 2]
        assert stage.dispatcher.snapshot().loaded == ()
        assert stage.dispatcher.snapshot().info.name == "scripted", "it stays the usual one"
        stage.submit(5)
        assert isinstance(stage.engine.told[-1], LoadModel), "and is loaded again when it is wanted"

    play(scene)


def test_before_the_first_model_is_there_no_other_is_loaded(play):
    async def scene(stage):
        stage.engine.state = "loading"
        stage.ask(1, load="other")
        assert [message.code for message in stage.ear.answers] == ["loading"]

    play(scene)


def test_a_load_is_a_job_that_can_be_watched_and_left(play):
    async def scene(stage):
        watcher = Ear()
        stage.ask(1, load="other")
        stage.ask(2, load="other")
        desk = JobQueries(stage.dispatcher)
        desk.watch(Watch(job=90, wanted=1), watcher)
        stage.dispatcher.cancel(2)
        assert stage.ear.of(2)[-1] == "cancelled"
        stage.hold("scripted", "other", job=1)
        events = [(message.name, message.status.kind) for message in watcher.heard if isinstance(message, JobEvent)]
        assert events == [("started", "model"), ("completed", "model")]

    play(scene)
