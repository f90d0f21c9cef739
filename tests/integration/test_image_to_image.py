"""An image in a request is where the generation starts, as base64, as a data URL and as a file."""

from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from tests.support.images import coded, file_of, one_colour, pixels
from tests.support.server import Server


def mask(width: int = 96, height: int = 64) -> bytes:
    """Return a mask whose left half is regenerated."""
    image = Image.new("L", (width, height), 0)
    image.paste(255, (0, 0, width // 2, height))
    return file_of(image)


def upload(server: Server, files: dict[str, bytes], **fields: Any) -> requests.Response:
    form = {name: str(value) for name, value in fields.items()}
    parts = {name: (f"{name}.png", data, "image/png") for name, data in files.items()}
    return requests.post(f"{server.url}/generate", data=form, files=parts, timeout=60)


def test_the_image_and_its_size_reach_the_engine_however_they_are_sent(fake_server):
    fields = {"add_overlay": False, "cache": False}
    for answer in (
        fake_server.generate("a", image=coded(one_colour()), **fields),
        fake_server.generate("b", image="data:image/png;base64," + coded(one_colour()), **fields),
        upload(fake_server, {"image": one_colour()}, prompt="c", num_inference_steps=3, **fields),
    ):
        generated = pixels(answer)
        assert generated.shape == (64, 96, 3)
        assert (generated == [0, 128, 128]).all()


def test_an_asked_for_size_goes_before_the_images_own(fake_server):
    answer = fake_server.generate("a", image=coded(one_colour()), size="128x128", add_overlay=False)
    assert pixels(answer).shape == (128, 128, 3)


def test_a_large_photograph_is_generated_smaller_and_says_so(fake_server):
    answer = fake_server.generate("a", image=coded(one_colour(4000, 3000)), save_to_file=True).json()
    assert answer["width"] * answer["height"] <= 2048 * 2048
    assert answer["width"] / answer["height"] == pytest.approx(4 / 3, rel=0.01)
    assert any("4000x3000" in warning for warning in answer["warnings"])


def test_two_images_are_two_requests_for_the_cache(fake_server):
    sources = [fake_server.post({"prompt": "x", "image": coded(one_colour(colour=c))}) for c in ("red", "blue", "red")]
    assert [answer.headers["X-Cache"] for answer in sources] == ["miss", "miss", "hit"]


@pytest.mark.parametrize(
    ("fields", "param", "part"),
    [
        ({"image": "!"}, "image", "base64"),
        ({"image": coded(b"no image")}, "image", "readable"),
        ({"image": 5}, "image", "string"),
        ({"image": coded(one_colour(5000, 4000))}, "image", "limit"),
        ({"image": "http://127.0.0.1/a.png"}, "image", "ALLOW_REMOTE_IMAGES"),
        ({"image": coded(one_colour()), "strength": 0}, "strength", "greater than 0"),
        ({"image": coded(one_colour()), "strength": 1.5}, "strength", "less than or equal to 1"),
        ({"mask": coded(mask())}, "mask", "image"),
        ({"image": coded(one_colour()), "mask": "?"}, "mask", "base64"),
    ],
)
def test_wrong_images_are_refused_by_name(fake_server, fields, param, part):
    answer = fake_server.generate("a", **fields)
    assert (answer.status_code, answer.json()["param"]) == (422, param), answer.text
    assert part in answer.json()["error"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"num_inference_steps": "many"}, "num_inference_steps"), ({"colour": "red"}, "colour"), ({"n": "0"}, "n")],
)
def test_wrong_fields_of_a_form_are_refused_by_name(fake_server, fields, param):
    answer = upload(fake_server, {"image": one_colour()}, prompt="a", **fields)
    assert (answer.status_code, answer.json()["param"]) == (422, param), answer.text


def test_strength_without_an_image_is_warned_about(fake_server):
    answer = fake_server.generate("a", strength=0.5)
    assert "strength is ignored without an image." in answer.headers["X-Warnings"]


def test_the_demo_model_changes_what_the_mask_shows_and_keeps_the_rest_to_the_bit(demo_server):
    fields = {"prompt": "a red circle on a green background", "add_overlay": False, "size": "256x256"}
    blue = one_colour(256, 256, "blue")
    whole = pixels(demo_server.post(fields | {"image": coded(blue), "strength": 1.0}))
    masked = pixels(demo_server.post(fields | {"image": coded(blue), "mask": coded(mask(256, 256))}))
    assert np.abs(whole - [0, 0, 255]).mean() > 40
    assert (masked[:, 128:] == [0, 0, 255]).all()
    assert np.abs(masked[:, :128] - [0, 0, 255]).mean() > 20


def test_more_strength_moves_further_from_the_image(demo_server):
    fields = {"prompt": "a red circle on a green background", "add_overlay": False, "size": "256x256"}
    # The blue that the demo model knows; it pulls any other one towards it.
    start = coded(one_colour(256, 256, "#2e58db"))
    distances = [
        np.abs(pixels(demo_server.post(fields | {"image": start, "strength": strength})) - [46, 88, 219]).mean()
        for strength in (0.1, 0.7, 1.0)
    ]
    assert distances[0] < distances[1] < distances[2]
    assert distances[0] < 15


def test_several_images_stand_side_by_side_for_a_model_that_starts_from_one(fake_server):
    answer = fake_server.generate("a", image=[coded(one_colour()), coded(one_colour())], add_overlay=False)
    assert pixels(answer).shape == (64, 192, 3)
    assert "starts from one image: the 2 that were sent were put side by side" in answer.headers["X-Warnings"]
