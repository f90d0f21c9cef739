"""A body outside its limits is refused by the name of its field."""

import math

import pytest

from imageserver.api.dialects.automatic1111.bodies import Txt2ImgBody, checked
from imageserver.errors import BadRequest, InvalidParameter
from tests.support.automatic1111_bodies import SETTINGS, img2img


@pytest.mark.parametrize(
    ("content", "param"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 101}, "steps"),
        ({"steps": "twenty"}, "steps"),
        ({"cfg_scale": -1}, "cfg_scale"),
        ({"cfg_scale": math.nan}, "cfg_scale"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2, "n_iter": 3}, "batch_size"),
        ({"width": 63}, "width"),
        ({"seed": -2}, "seed"),
        ({"seed": "-2"}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"prompt": ["x"]}, "prompt"),
        ({"prompt": "x" * 201}, "prompt"),
        ({"negative_prompt": "\ud800"}, "negative_prompt"),
        ({"override_settings": []}, "override_settings"),
        ({"init_images": []}, "init_images"),
        ({"init_images": None}, "init_images"),
        ({"init_images": ["aGk=", "aGk="]}, "init_images"),
        ({"resize_mode": 4}, "resize_mode"),
        ({"denoising_strength": 1.1}, "denoising_strength"),
        ({"mask_blur": -1}, "mask_blur"),
    ],
)
def test_a_field_outside_its_limits_is_refused_by_its_own_name(content, param):
    with pytest.raises(InvalidParameter) as caught:
        img2img(**content)
    assert caught.value.param == param
    assert caught.value.sentence.startswith(param)


def test_a_body_that_is_not_an_object_is_refused():
    with pytest.raises(BadRequest):
        checked(Txt2ImgBody, ["x"], SETTINGS)
