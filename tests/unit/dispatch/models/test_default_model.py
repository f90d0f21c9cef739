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
