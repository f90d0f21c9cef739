"""Fields of AUTOMATIC1111 are translated to those of /generate with their meaning."""

import pytest

from imageserver.api.dialects.automatic1111.bodies import Txt2ImgBody, warnings_of
from tests.support.automatic1111_bodies import img2img, native, txt2img


def test_omitted_fields_mean_the_models_defaults_and_512_pixels():
    assert native(txt2img(prompt="a cat")) == {
        "prompt": "a cat", "seed": None, "n": 1, "width": 512, "height": 512, "output_format": "png",
        "positive_magic": False, "add_overlay": False,
    }  # fmt: skip


def test_fields_are_translated_to_those_of_generate():
    body = txt2img(
        prompt="a cat",
        negative_prompt="dog",
        seed=7,
        batch_size=2,
        n_iter=2,
        steps=12,
        cfg_scale=7,
        width=640,
        height=96,
    )
    assert native(body).items() >= {
        "negative_prompt": "dog", "seed": 7, "n": 4, "num_inference_steps": 12, "true_cfg_scale": 7, "width": 640,
        "height": 96,
    }.items()  # fmt: skip


@pytest.mark.parametrize(("seed", "expected"), [(-1, None), ("-1", None), (None, None), (0, 0), ("12", 12), (3.0, 3)])
def test_every_spelling_of_a_seed_is_read(seed, expected):
    assert native(txt2img(prompt="x", seed=seed))["seed"] == expected


def test_null_is_the_same_as_left_out():
    nothing = dict.fromkeys([*Txt2ImgBody.model_fields, "s_tmax", "refiner_checkpoint"])
    assert native(txt2img(**nothing)) == native(txt2img())
    assert warnings_of(txt2img(**nothing)) == []


def test_a_prompt_may_be_left_out_and_is_then_generated_without_guidance():
    fields = native(txt2img())
    assert (fields["prompt"], fields["true_cfg_scale"]) == (" ", 1.0)
    assert "true_cfg_scale" not in native(txt2img(negative_prompt="dog"))


@pytest.mark.parametrize(("strength", "expected"), [(0, 0.001), (0.0004, 0.001), (0.5, 0.5), (1, 1), (None, 0.75)])
def test_denoising_strength_is_the_strength_and_0_the_minimum(strength, expected):
    assert native(img2img(prompt="x", denoising_strength=strength))["strength"] == expected


def test_mask_blur_overrides_the_blur_of_each_direction():
    assert img2img().blur == (4, 4)
    assert img2img(mask_blur_x=1, mask_blur_y=2).blur == (1, 2)
    assert img2img(mask_blur_x=1, mask_blur=0).blur == (0, 0)
