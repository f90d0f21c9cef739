"""The extras enlarge to the size that AUTOMATIC1111 would choose."""

import pytest

from imageserver.api.dialects.automatic1111.extras.bodies import ExtrasBody

GIVEN = (100, 50)


@pytest.mark.parametrize(
    ("fields", "size", "crop"),
    [
        ({}, (100, 50), False),
        ({"upscaler_1": "None", "upscaling_resize": 4}, (100, 50), False),
        ({"upscaler_1": "Lanczos"}, (200, 100), False),
        ({"upscaler_1": "Lanczos", "upscaling_resize": 1.5}, (150, 75), False),
        ({"upscaler_1": "R-ESRGAN 4x+", "resize_mode": 1, "upscaling_resize_w": 300, "upscaling_resize_h": 300},
         (300, 300), True),
        ({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_crop": False}, (512, 256), False),
    ],
)  # fmt: skip
def test_the_new_size_is_the_one_asked_for(fields, size, crop):
    wanted = ExtrasBody(**fields).enlargement()
    assert (wanted.size_of(GIVEN), wanted.crop) == (size, crop)


def test_what_is_not_served_is_a_warning():
    body = ExtrasBody(upscaler_1="ESRGAN_4x", gfpgan_visibility=0.5, codeformer_visibility=0)
    assert body.warnings() == [
        "gfpgan_visibility is ignored.", "upscaler 'ESRGAN_4x' is not served; Lanczos is used.",
    ]  # fmt: skip
