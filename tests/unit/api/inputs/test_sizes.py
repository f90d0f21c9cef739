"""One size, however clients write it."""

import re

import pytest

from imageserver.api.inputs import generate_request
from imageserver.api.inputs.sizes import ANY_SIZE_PATTERN, SIZE_PATTERN, shape_fields, sides_of, size_fields
from imageserver.settings import Settings

PIXELS = ["512x256", "512X256", "512×256", "512*256", " 512 x 256 ", "0512x0256"]


@pytest.mark.parametrize("text", PIXELS)
def test_the_sign_between_the_sides_is_any_that_people_write(text):
    assert re.search(SIZE_PATTERN, text)
    assert sides_of(text) == (512, 256)
    body = generate_request.parse({"prompt": "x", "size": text}, Settings(_env_file=None))
    generation, _ = generate_request.resolve(body, Settings(_env_file=None), None)
    assert (generation.width, generation.height) == (512, 256)


@pytest.mark.parametrize(
    "text", ["", "512", "512x", "x512", "512x256x3", "huge", "5e2x256", "-512x256", "512:256", "auto"]
)
def test_anything_else_is_no_size_in_pixels(text):
    assert not re.search(SIZE_PATTERN, text)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("auto", {}),
        (" AUTO ", {}),
        ("1024 × 768", {"size": "1024×768"}),
        ("1024X768", {"size": "1024x768"}),
        ("16:9", {"aspect_ratio": "16:9"}),
        ("9 : 16", {"aspect_ratio": "9:16"}),
        ("21:9", {"size": "2032x864"}),
    ],
)
def test_a_size_of_openais_is_pixels_a_shape_or_auto(text, fields):
    assert re.search(ANY_SIZE_PATTERN, text)
    assert size_fields(text) == fields


def test_a_shape_without_a_name_has_its_shape_and_the_pixels_of_a_square():
    width, height = sides_of(shape_fields("21:9")["size"])
    assert width / height == pytest.approx(21 / 9, rel=0.02)
    assert width * height == pytest.approx(1328 * 1328, rel=0.02)


@pytest.mark.parametrize("shape", ["s1:1", "wide", "0:1"])
def test_a_named_shape_and_what_is_none_are_left_to_the_native_field(shape):
    assert shape_fields(shape) == {"aspect_ratio": shape}
