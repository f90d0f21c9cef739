"""The hires fix is the second stage of a generation."""

import pytest

from imageserver.api.dialects.automatic1111.bodies import Txt2ImgBody, checked, to_generate_fields, warnings_of
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
