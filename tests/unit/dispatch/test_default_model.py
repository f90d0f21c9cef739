"""What becomes of requests that name no model when the usual one cannot be loaded again."""

from imageserver.protocol.messages import Failed, LoadModel, ModelRequest

BROKEN = Failed(job=1, code="model_unloadable", sentence="It is broken.", param="model")


def test_the_usual_model_that_cannot_be_loaded_again_fails_its_jobs_and_is_not_tried_for_ever(play):
    async def scene(stage):
        stage.hold(job=9)
        stage.submit(1)
        assert stage.engine.told == [LoadModel(job=1, name="scripted")]
        stage.hold(job=1, failure=BROKEN)
        assert stage.ear.of(1) == ["model_unloadable"]
        assert len(stage.engine.told) == 1

    play(scene)


def test_a_new_engine_that_could_not_begin_with_the_chosen_model_has_another_usual_one(play):
    async def scene(stage):
        stage.dispatcher.ask_model(ModelRequest(job=1, load="other", default=True), stage.ear)
        stage.hold("scripted", "other", job=1)
        stage.lose_engine()
        stage.revive()
        assert stage.dispatcher.snapshot().info.name == "scripted"
        stage.submit(5)
        assert stage.engine.models == ["scripted"]

    play(scene)
