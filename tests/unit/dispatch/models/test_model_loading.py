"""Models are loaded one at a time, for clients and for the job that is served next; files are fetched beside that."""

from imageserver.dispatch.job_queries import JobQueries
from imageserver.protocol.messages import (
    Failed,
    FetchModel,
    JobEvent,
    LoadModel,
    LoadProgress,
    Progress,
    Snapshot,
    UnloadModel,
    Watch,
)
from tests.support.dispatch_harness import Harness, Recorder


def refused(job, sentence="It is broken."):
    return Failed(job=job, code="model_unloadable", sentence=sentence, param="model")


def arrives(harness, job, share=0.1):
    """Let the engine say that a part of a model's files has come."""
    harness.dispatcher.model_event(
        harness.seat, LoadProgress(job=job, phase="downloading", sentence="It arrives.", fraction=share)
    )


async def test_a_job_of_a_model_that_is_not_there_waits_for_it(harness):
    harness.submit(1, model="other")
    assert harness.engine.sent == [LoadModel(job=1, name="other")]
    assert harness.engine.runs == []
    harness.load("scripted", "other", job=1)
    assert harness.engine.runs == [1]
    assert harness.engine.models == ["other"]


async def test_jobs_that_name_no_model_get_the_default_model(harness):
    harness.submit(1)
    assert harness.engine.models == ["scripted"]


async def test_nothing_else_begins_while_a_model_waits_for_room():
    harness = Harness(room=2)
    harness.submit(1, model="other")
    harness.submit(2)
    assert harness.engine.runs == []
    harness.load("scripted", "other", job=1)
    assert harness.engine.runs == [1, 2]


async def test_what_somebody_asks_for_is_fetched_first_and_then_loaded(harness):
    harness.request_model(9, load="large", fetch=True)
    assert harness.engine.sent == [FetchModel(job=1, name="large")]
    arrives(harness, 1)
    harness.fetch(1)
    assert harness.engine.sent[1:] == [LoadModel(job=2, name="large")]
    harness.load("scripted", "large", job=2)
    [answer] = harness.worker.responses
    assert answer.info.name == "large"
    assert harness.worker.of(9) == ["Started", "Progress", "ModelResponse"]


async def test_jobs_of_loaded_models_go_on_during_a_download():
    harness = Harness(room=2)
    harness.request_model(9, load="large", fetch=True)
    arrives(harness, 1)
    harness.submit(1)
    assert harness.engine.runs == [1]


async def test_a_download_keeps_no_model_that_is_on_the_disk_waiting(harness):
    harness.request_model(8, load="large", fetch=True)
    arrives(harness, 1)
    harness.request_model(9, load="other", fetch=True)
    assert harness.engine.sent[1:] == [FetchModel(job=2, name="other")]
    harness.fetch(2)
    assert harness.engine.sent[2:] == [LoadModel(job=3, name="other")]
    harness.load("scripted", "other", job=3)
    assert [answer.job for answer in harness.worker.responses] == [9]
    harness.submit(1, model="third")
    assert harness.engine.sent[3:] == [LoadModel(job=4, name="third")]


async def test_no_more_than_four_downloads_go_on_at_a_time(harness):
    for job, name in enumerate("abcde", 1):
        harness.request_model(job, load=name, fetch=True)
    assert [message.name for message in harness.engine.sent] == ["a", "b", "c", "d"]
    harness.fetch(3, failure=refused(3))
    assert harness.engine.sent[-1] == FetchModel(job=5, name="e")


async def test_a_download_that_fails_refuses_those_who_wait_for_it(harness):
    harness.request_model(1, load="far", fetch=True)
    arrives(harness, 1)
    assert harness.dispatcher.snapshot().phase == "downloading"
    harness.fetch(1, failure=refused(1, "There is no such id."))
    assert [message.sentence for message in harness.worker.responses] == ["There is no such id."]
    assert harness.dispatcher.snapshot().phase == "ready"
    assert len(harness.engine.sent) == 1


async def test_who_may_not_fetch_waits_for_a_download_that_is_under_way(harness):
    harness.request_model(1, load="large", fetch=True)
    harness.request_model(2, load="large")
    assert harness.engine.sent == [FetchModel(job=1, name="large")], "half of its files are no model"
    harness.fetch(1)
    harness.load("scripted", "large", job=2)
    assert [answer.job for answer in harness.worker.responses] == [1, 2]


async def test_a_job_of_the_very_model_that_is_fetched_again_waits_for_it():
    harness = Harness(room=2)
    harness.load("scripted", "large")
    harness.load("scripted")
    harness.request_model(9, load="large", fetch=True)
    harness.submit(1, model="large")
    assert harness.engine.runs == []
    harness.fetch(1)
    harness.load("scripted", "large", job=2)
    assert harness.engine.runs == [1]


async def test_a_job_that_waits_for_a_download_keeps_no_other_waiting(harness):
    harness.load("scripted", "large", "other")
    harness.load("scripted")
    harness.request_model(9, load="large", fetch=True)
    harness.submit(1, model="large")
    harness.submit(2, model="other")
    harness.load("scripted", "other", job=2)
    assert harness.engine.runs == [2]
    harness.submit(3)
    harness.finish(2)
    assert harness.engine.runs == [2, 3]
    harness.finish(3)
    harness.fetch(1)
    harness.load("scripted", "large", job=3)
    assert harness.engine.models[2:] == ["large"]


async def test_an_engine_that_dies_during_a_download_leaves_nobody_waiting(harness):
    harness.request_model(1, load="large", fetch=True)
    arrives(harness, 1)
    harness.lose_engine()
    assert harness.worker.of(1)[-1] == "engine_unavailable"
    assert harness.dispatcher.models.download is None
    harness.revive()
    harness.request_model(2, load="large", fetch=True)
    assert harness.engine.sent[-1] == FetchModel(job=2, name="large")


async def test_a_model_that_cannot_be_loaded_fails_its_jobs_alone(harness):
    harness.submit(1, model="broken")
    harness.submit(2)
    harness.load("scripted", job=1, failure=refused(1))
    assert harness.worker.of(1) == ["model_unloadable"]
    assert harness.engine.runs == [2]


async def test_two_that_ask_for_one_model_share_its_load_and_hear_how_far_it_is(harness):
    first, second = Recorder(), Recorder()
    harness.request_model(1, first, load="other")
    harness.request_model(2, second, load="other")
    assert len(harness.engine.sent) == 1
    harness.dispatcher.model_event(harness.seat, LoadProgress(job=1, phase="loading", sentence="", fraction=0.25))
    harness.load("scripted", "other", job=1)
    for job, recorder in ((1, first), (2, second)):
        assert Progress(job=job, step=25, total=100) in recorder.messages
        [answer] = recorder.responses
        assert (answer.job, answer.info.name) == (job, "other")


async def test_loads_come_one_after_the_other(harness):
    harness.request_model(1, load="a")
    harness.request_model(2, load="b")
    assert [message.name for message in harness.engine.sent] == ["a"]
    harness.load("scripted", "a", job=1)
    assert [message.name for message in harness.engine.sent] == ["a", "b"]


async def test_who_may_fetch_is_not_refused_because_another_may_not(harness):
    patient, hurried = Recorder(), Recorder()
    harness.request_model(1, hurried, load="far")
    harness.request_model(2, patient, load="far", fetch=True)
    assert harness.engine.sent == [LoadModel(job=1, name="far")]
    harness.load("scripted", job=1, failure=refused(1, "It is not on the disk."))
    assert [message.code for message in hurried.responses] == ["model_unloadable"]
    assert patient.responses == []
    assert harness.engine.sent[1:] == [FetchModel(job=2, name="far")]


async def test_a_loaded_model_becomes_the_default_where_that_is_asked_and_workers_know_before_the_response(harness):
    harness.request_model(1, load="other", default=True)
    harness.load("scripted", "other", job=1)
    [response] = harness.worker.responses
    before = harness.worker.messages[: harness.worker.messages.index(response)]
    assert any(isinstance(message, Snapshot) and message.info.name == "other" for message in before)
    harness.submit(5)
    assert harness.engine.models == ["other"]
    assert harness.engine.initial_models.chosen.name == "other", "a new engine begins with it"


async def test_a_load_that_fails_leaves_the_default_model(harness):
    harness.request_model(1, load="broken", default=True)
    harness.load("scripted", job=1, failure=refused(1))
    assert [message.code for message in harness.worker.responses] == ["model_unloadable"]
    harness.submit(5)
    assert (harness.engine.models, harness.engine.initial_models.chosen) == (["scripted"], None)


async def test_a_model_that_is_there_already_is_answered_at_once(harness):
    harness.load("scripted", "other")
    harness.request_model(1, load="other", default=True)
    assert harness.engine.sent == []
    [answer] = harness.worker.responses
    assert answer.info.name == "other"
    assert harness.dispatcher.snapshot().info.name == "other"


async def test_an_engine_that_dies_over_a_model_takes_that_models_jobs_along_and_no_others(harness):
    harness.submit(1, model="heavy")
    harness.submit(2)
    harness.request_model(3, load="heavy")
    harness.lose_engine()
    assert harness.worker.of(1) == ["engine_unavailable"]
    assert harness.worker.of(3)[-1] == "engine_unavailable"
    harness.revive()
    assert harness.engine.runs == [2]


async def test_after_an_engines_death_a_model_that_it_held_is_loaded_again_for_its_jobs(harness):
    harness.load("scripted", "other")
    harness.submit(1, model="other")
    harness.lose_engine()
    harness.revive()
    assert [message.name for message in harness.engine.sent] == ["other"]
    harness.load("scripted", "other", job=1)
    assert harness.engine.runs == [1, 1]


async def test_a_job_that_comes_after_an_unload_has_its_model_loaded_again(harness):
    harness.request_model(9, unload="scripted")
    harness.submit(1)
    assert harness.engine.runs == []
    unload, load = harness.engine.sent
    assert (type(unload), type(load)) == (UnloadModel, LoadModel)
    harness.load(job=unload.job)
    assert harness.engine.runs == []
    harness.load("scripted", job=load.job)
    assert harness.engine.runs == [1]


async def test_a_model_that_is_about_to_leave_counts_as_gone_whatever_else_the_engine_says_first(harness):
    harness.request_model(8, load="other")
    harness.request_model(9, unload="scripted")
    harness.load("scripted", "other", job=1)
    harness.submit(1)
    assert harness.engine.runs == []
    assert harness.engine.sent[-1] == LoadModel(job=3, name="scripted")


async def test_half_of_a_models_files_are_not_loaded_for_one_who_asked_before_the_download(harness):
    harness.request_model(7, load="slow")
    harness.request_model(8, load="large")
    harness.request_model(9, load="large", fetch=True)
    assert harness.engine.sent[-1] == FetchModel(job=2, name="large")
    harness.load("scripted", "slow", job=1)
    assert len(harness.engine.sent) == 2, "it is being fetched"
    harness.fetch(2)
    assert harness.engine.sent[-1] == LoadModel(job=3, name="large")


async def test_unloading_is_passed_on_and_its_refusal_too(harness):
    harness.request_model(1, unload="scripted")
    harness.request_model(2, unload="scripted")
    first, second = harness.engine.sent
    assert isinstance(first, UnloadModel)
    harness.load("scripted", job=first.job, failure=Failed(job=1, code="busy", sentence="It is in use."))
    harness.load(job=second.job)
    outcomes = [getattr(message, "code", message.job) for message in harness.worker.responses]
    assert outcomes == ["busy", 2]
    assert harness.dispatcher.snapshot().loaded == ()
    assert harness.dispatcher.snapshot().info.name == "scripted", "it stays the default model"
    harness.submit(5)
    assert isinstance(harness.engine.sent[-1], LoadModel), "and is loaded again when it is wanted"


async def test_before_the_first_model_is_there_no_other_is_loaded(harness):
    harness.engine.state = "loading"
    harness.request_model(1, load="other")
    assert [message.code for message in harness.worker.responses] == ["loading"]


async def test_a_load_is_a_job_that_can_be_watched_and_left(harness):
    watcher = Recorder()
    harness.request_model(1, load="other")
    harness.request_model(2, load="other")
    queries = JobQueries(harness.dispatcher)
    queries.watch(Watch(job=90, wanted=1), watcher)
    harness.dispatcher.cancel(2)
    assert harness.worker.of(2)[-1] == "cancelled"
    harness.load("scripted", "other", job=1)
    events = [(message.name, message.status.kind) for message in watcher.messages if isinstance(message, JobEvent)]
    assert events == [("started", "model"), ("completed", "model")]
