"""Requests that name no model, when the default model cannot be loaded again."""

from imageserver.protocol.messages import Failed, LoadModel, ModelRequest

BROKEN = Failed(job=1, code="model_unloadable", sentence="It is broken.", param="model")


async def test_a_default_model_that_cannot_be_loaded_again_fails_its_jobs_and_is_not_tried_for_ever(harness):
    harness.load(job=9)
    harness.submit(1)
    assert harness.engine.sent == [LoadModel(job=1, name="scripted")]
    harness.load(job=1, failure=BROKEN)
    assert harness.worker.of(1) == ["model_unloadable"]
    assert len(harness.engine.sent) == 1


async def test_a_new_engine_that_could_not_begin_with_the_default_model_has_another_one(harness):
    harness.dispatcher.request_model(ModelRequest(job=1, load="other", default=True), harness.worker)
    harness.load("scripted", "other", job=1)
    harness.lose_engine()
    harness.revive()
    assert harness.dispatcher.snapshot().info.name == "scripted"
    harness.submit(5)
    assert harness.engine.models == ["scripted"]


async def test_how_one_machine_held_a_model_is_not_remembered_of_the_next_machine(harness):
    models = harness.seats[0].models
    harness.engine.machine = "10.0.0.7 cuda:0"
    harness.request_model(1, load="other", default=True)
    harness.load("scripted", "other", job=1)
    assert harness.engine.initial_models.chosen.machine == "10.0.0.7 cuda:0"
    harness.engine.machine = "10.0.0.8 cuda:0"
    harness.load("scripted")
    assert (models.initial("other"), models.initial("scripted").machine) == (None, "10.0.0.8 cuda:0")
