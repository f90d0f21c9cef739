"""The hires fix is the second stage of a generation."""

import pytest

from imageserver.api.dialects.automatic1111.bodies import Txt2ImgBody, checked, to_generate_fields, warnings_of
from imageserver.errors import InvalidParameter
from imageserver.settings import Settings

SETTINGS = Settings(_env_file=None)


def txt2img(**content):
    return checked(Txt2ImgBody, {"prompt": "x", "width": 512, "height": 256, **content}, SETTINGS)


def hires(**content):
    fields = to_generate_fields(txt2img(**content), "png", "")
    return {name: value for name, value in fields.items() if name.startswith("upscale")}


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ({}, {}), ({"enable_hr": False, "hr_scale": 2, "denoising_strength": 0.5}, {}),
        ({"enable_hr": True}, {"upscale": 2, "upscale_strength": 0.75}),
        ({"enable_hr": True, "hr_scale": 1}, {}),
        ({"enable_hr": "true", "hr_scale": "1.5", "denoising_strength": 0.4, "hr_second_pass_steps": 12},
         {"upscale": 1.5, "upscale_strength": 0.4, "upscale_steps": 12}),
        ({"enable_hr": 1, "hr_resize_x": 768}, {"upscale": 1.5, "upscale_strength": 0.75}),
        ({"enable_hr": 1, "hr_resize_x": 768, "hr_resize_y": 512}, {"upscale": 2, "upscale_strength": 0.75}),
        ({"enable_hr": 1, "hr_resize_x": 8192}, {"upscale": 4, "upscale_strength": 0.75}),
    ],
)  # fmt: skip
def test_its_fields_are_those_of_a_second_stage(content, fields):
    assert hires(**content) == fields


def test_what_it_does_not_do_is_a_warning_only_where_it_is_asked_for():
    details = {"hr_upscaler": "R-ESRGAN 4x+", "hr_prompt": "y", "hr_sampler_name": "Use same sampler"}
    assert warnings_of(txt2img(**details)) == []
    assert warnings_of(txt2img(enable_hr=True, **details)) == [
        "hr_prompt is ignored.", "hr_upscaler 'R-ESRGAN 4x+' is not served; Lanczos is used.",
    ]  # fmt: skip
    assert warnings_of(txt2img(enable_hr=True, hr_upscaler="Lanczos")) == []


@pytest.mark.parametrize(
    ("wanted", "warning"),
    [
        ({"hr_scale": 1}, "enable_hr is ignored: the image would not become larger."),
        ({"hr_resize_x": 100, "hr_prompt": "y"}, "enable_hr is ignored: the image would not become larger."),
        ({"hr_resize_y": 2000}, "hr_resize_x and hr_resize_y: the image becomes 4 times as large, the most."),
        ({"hr_resize_x": 1024, "hr_resize_y": 512},
         "hr_resize_x and hr_resize_y: the image keeps its shape and covers that size."),
    ],
)  # fmt: skip
def test_a_size_that_it_does_not_reach_is_a_warning(wanted, warning):
    assert warnings_of(txt2img(enable_hr=True, **wanted)) == [warning]


@pytest.mark.parametrize(
    ("wanted", "param", "sentence", "own_param", "own_sentence"),
    [
        ({}, "upscale", "upscale: upscale_strength 0.", "hr_scale", "hr_scale: denoising_strength 0."),
        ({"hr_resize_y": 900}, "upscale", "upscale: no.", "hr_resize_y", "hr_resize_y: no."),
        ({}, "upscale_steps", "upscale_steps is 9.", "hr_second_pass_steps", "hr_second_pass_steps is 9."),
        ({}, "width", "width is upscaled.", "width", "width is upscaled."),
    ],
)
def test_its_errors_name_the_fields_as_they_were_sent(wanted, param, sentence, own_param, own_sentence):
    error = txt2img(enable_hr=True, **wanted).in_own_names(InvalidParameter(sentence, param=param))
    assert (error.param, error.sentence) == (own_param, own_sentence)
