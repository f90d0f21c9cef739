"""`upscale` becomes a second stage with tiles that the model can generate."""

import pytest

from imageserver.api.inputs.generate_request import parse, resolve
from imageserver.api.inputs.upscale import with_second_stage
from imageserver.errors import InvalidParameter
from imageserver.generation import ModelInfo
from imageserver.settings import Settings

SETTINGS = Settings(_env_file=None, max_pixels=1024 * 1024, max_steps=50)
MODEL = ModelInfo(name="model")


def enlarged(info=MODEL, *, only=False, settings=SETTINGS, **fields):
    body = parse({"prompt": "x", "width": 512, "height": 512, **fields}, settings)
    generation, _ = resolve(body, settings, info)
    return with_second_stage(body, generation, info, settings, only=only)


def staged(info=MODEL, **fields):
    return enlarged(info, **fields).upscale


def test_without_it_there_is_no_second_stage():
    assert staged() is None
    assert staged(upscale=None, upscale_strength=0.5) is None


def test_the_answer_is_so_many_times_as_large_and_the_tiles_are_of_the_first_stage_s_size():
    upscale = staged(upscale=1.5, upscale_strength=0.5, upscale_steps=10)
    assert (upscale.width, upscale.height, upscale.tile, upscale.grid) == (768, 768, (512, 512), (2, 2))
    assert (upscale.strength, upscale.steps, upscale.only) == (0.5, 10, False)
    assert (staged(upscale=2).strength, staged(upscale=2, num_inference_steps=7).steps) == (0.35, 7)


def test_an_image_within_the_model_s_size_is_one_tile():
    large = ModelInfo(name="large", default_size=(1024, 1024))
    assert staged(large, upscale=2).tile == (1024, 1024)
    assert staged(upscale=2, width=256, height=256).tile == (512, 512)


def test_an_image_that_was_sent_is_enlarged_twice_by_default():
    upscale = staged(only=True, width=1024, height=1024)
    assert (upscale.width, upscale.tile, upscale.only) == (2048, (1024, 1024), True)


@pytest.mark.parametrize(
    ("info", "fields", "param"),
    [
        (MODEL, {"upscale": 4, "width": 1024, "height": 1024}, "upscale"),
        (MODEL, {"upscale": 1}, "upscale"),
        (MODEL, {"upscale": 5}, "upscale"),
        (MODEL, {"upscale": 2, "upscale_strength": 1.5}, "upscale_strength"),
        (MODEL, {"upscale": 2, "upscale_steps": 51}, "upscale_steps"),
        (MODEL, {"upscale": 2, "quality": "fast"}, "upscale"),
        (ModelInfo(name="editor", kinds=("edit",)), {"upscale": 2}, "upscale"),
        (ModelInfo(name="layered", kinds=("image",), layers=4), {"upscale": 2}, "upscale"),
        (ModelInfo(name="clear", transparency=True), {"upscale": 2, "background": "transparent"}, "upscale"),
    ],
)  # fmt: skip
def test_what_cannot_be_enlarged_is_refused(info, fields, param):
    with pytest.raises(InvalidParameter) as caught:
        staged(info, **fields)
    assert caught.value.param == param


def test_images_are_enlarged_up_to_what_all_of_an_answer_may_have_together():
    full = {"upscale": 2, "width": 1024, "height": 1024}
    assert staged(**full, n=2).width == 2048
    with pytest.raises(InvalidParameter, match="3 images would be 2048x2048 each; the limit is 10485760 pixels"):
        staged(**full, n=3)
    assert staged(**full, n=1, settings=Settings(_env_file=None, max_pixels=1024 * 1024, max_images=1)).width == 2048


def test_a_model_that_only_edits_enlarges_with_lanczos_alone():
    assert staged(ModelInfo(name="editor", kinds=("edit",)), upscale=2, upscale_strength=0).tiles == 0


def test_where_nothing_is_generated_no_prompt_is_improved():
    writes = ModelInfo(name="writes", enhances=True)
    assert enlarged(writes, only=True, enhance=True, upscale_strength=0).enhancement is None
    for generated in ({"only": True}, {"upscale": 2, "upscale_strength": 0}):
        assert enlarged(writes, enhance=True, **generated).enhancement is not None
