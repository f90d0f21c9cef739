"""Numbers and switches may come as text, as AUTOMATIC1111 takes them."""

import pytest

from imageserver.api.dialects.automatic1111.bodies import Img2ImgBody, Txt2ImgBody, checked, warnings_of
from imageserver.api.dialects.automatic1111.extras.bodies import SingleImageBody
from imageserver.api.dialects.automatic1111.number_texts import with_numbers
from imageserver.api.inputs.validation import BLANKS
from imageserver.errors import InvalidParameter
from imageserver.settings import Settings
from tests.support.blocking import cpu_seconds, longest_block

SETTINGS = Settings(_env_file=None)


def test_numbers_and_switches_as_text_mean_the_same():
    texts = {
        "prompt": "20", "steps": "20", "cfg_scale": "7.5", "width": " 640 ", "batch_size": "2", "seed": "-1",
        "send_images": "false", "denoising_strength": "0.5", "resize_mode": "1", "mask_round": "True",
        "inpainting_mask_invert": "1", "init_images": ["aGk="],
    }  # fmt: skip
    body = checked(Img2ImgBody, texts, SETTINGS)
    assert (body.prompt, body.steps, body.cfg_scale, body.width, body.batch_size) == ("20", 20, 7.5, 640, 2)
    assert (body.seed, body.send_images, body.denoising_strength, body.resize_mode) == (-1, False, 0.5, 1)
    assert (body.mask_round, body.inpainting_mask_invert) == (True, 1)


def test_a_blank_text_for_a_number_is_a_number_left_out():
    body = checked(Txt2ImgBody, {"steps": "", "cfg_scale": " ", "prompt": ""}, SETTINGS)
    assert (body.steps, body.cfg_scale, body.prompt) == (None, None, "")


@pytest.mark.parametrize("steps", ["many", "20 steps", "0x10", "1e2", "٣", "2.5", "true", "-1", "9" * 30])
def test_what_is_no_number_is_refused(steps):
    with pytest.raises(InvalidParameter) as caught:
        checked(Txt2ImgBody, {"steps": steps}, SETTINGS)
    assert caught.value.param == "steps"


def test_the_extras_read_them_too():
    texts = {"image": "aGk=", "upscaling_resize": "1.5", "upscaling_crop": "false", "resize_mode": "1"}
    assert with_numbers(SingleImageBody, texts) == {
        "image": "aGk=", "upscaling_resize": 1.5, "upscaling_crop": False, "resize_mode": 1,
    }  # fmt: skip
    for text in ("true", "False", "0", "1"):
        SingleImageBody(**with_numbers(SingleImageBody, {"image": "aGk=", "upscaling_crop": text}))


def test_a_long_text_of_blanks_for_a_number_keeps_others_waiting_for_a_fraction_of_the_time_that_trimming_it_takes():
    text = "\r\n" * 2_000_000

    def check() -> None:
        with pytest.raises(InvalidParameter, match=r"^steps: "):
            checked(Txt2ImgBody, {"steps": text, "restore_faces": text}, SETTINGS)

    assert min(longest_block(check) for _ in range(3)) < cpu_seconds(lambda: text.strip(BLANKS)) / 2
    body = checked(Txt2ImgBody, {"restore_faces": text}, SETTINGS)
    assert min(longest_block(lambda: warnings_of(body)) for _ in range(3)) < cpu_seconds(lambda: text.strip(BLANKS)) / 2
