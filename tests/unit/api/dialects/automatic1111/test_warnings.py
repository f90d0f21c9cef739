"""What is asked for and not served gives a warning, and what clients send by default gives none."""

import math

import pytest

from imageserver.api.dialects.automatic1111.bodies import warnings_of
from tests.support.automatic1111_bodies import img2img, txt2img


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({"restore_faces": True}, "restore_faces"),
        ({"tiling": 1}, "tiling"),
        ({"enable_hr": True, "hr_upscaler": "Latent"}, "hr_upscaler"),
        ({"subseed": 5, "subseed_strength": 0.2}, "subseed_strength"),
        ({"styles": ["None", "Cinematic"]}, "'Cinematic'"),
        ({"override_settings": {"sd_vae": "x.safetensors"}}, "'sd_vae'"),
        ({"override_settings": {"CLIP_stop_at_last_layers": 2}}, "'CLIP_stop_at_last_layers'"),
        ({"alwayson_scripts": {"ADetailer": {"args": []}}}, "'ADetailer'"),
        ({"script_name": "X/Y/Z plot"}, "script_name"),
        ({"s_churn": 0.5}, "s_churn"),
        ({"prompt": "a [red:blue:0.5] cat"}, "prompt editing"),
        ({"colour": "red"}, "'colour'"),
    ],
)
def test_unsupported_features_are_warnings(content, part):
    [warning] = warnings_of(txt2img(**({"prompt": "x"} | content)))
    assert part in warning


def test_the_defaults_that_clients_send_along_give_no_warning():
    # What SillyTavern and the webuiapi package always send.
    body = txt2img(
        prompt="x", sampler_name="Fake", scheduler="Automatic", restore_faces=False, enable_hr=False, hr_scale=2,
        hr_upscaler="Latent", hr_second_pass_steps=0, denoising_strength=0.7, save_images=True, send_images=True,
        do_not_save_grid=False, do_not_save_samples=False, url="http://x", auth="me:secret", subseed=-1,
        subseed_strength=0.0, seed_resize_from_h=0, seed_resize_from_w=-1, eta=1.0, s_churn=0, s_tmax=math.inf,
        s_tmin=0, s_noise=1, script_name=None, script_args=[], alwayson_scripts={}, styles=[], tiling=False,
        override_settings={"sd_vae": "Automatic", "CLIP_stop_at_last_layers": 1},
        override_settings_restore_afterwards=True, clip_skip=1,
    )  # fmt: skip
    assert warnings_of(body) == []


def test_a_feature_that_is_switched_off_as_text_gives_no_warning():
    off = {"restore_faces": "false", "tiling": "0", "s_churn": "0.0", "s_noise": " 1 ", "subseed_strength": "0"}
    assert warnings_of(txt2img(prompt="x", **off, override_settings={"CLIP_stop_at_last_layers": "1"})) == []
    on = {"restore_faces": "true", "s_churn": "0.5", "override_settings": {"CLIP_stop_at_last_layers": "2"}}
    assert len(warnings_of(txt2img(prompt="x", **on))) == 3


def test_many_unknown_fields_are_one_short_warning():
    [warning] = warnings_of(txt2img(prompt="x", **{f"field{number}": 1 for number in range(1000)}))
    assert warning.endswith("and 980 more.")
    assert len(warning) < 500


def test_inpainting_fields_give_a_warning_only_with_a_mask():
    fields = {"prompt": "x", "inpainting_fill": 0, "inpaint_full_res": True, "inpaint_full_res_padding": 32}
    assert warnings_of(img2img(**fields)) == []
    assert warnings_of(img2img(mask="aGk=", **fields)) == [
        "inpaint_full_res is ignored.", "inpainting_fill is ignored."
    ]  # fmt: skip
