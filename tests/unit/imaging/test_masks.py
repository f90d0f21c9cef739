"""Masks mean what AUTOMATIC1111's clients paint: white, or whatever is opaque, is regenerated."""

import io

import numpy as np
import pytest
from PIL import Image

from imageserver.errors import InvalidParameter
from imageserver.imaging.masks import MaskShape, shape_mask
from tests.support.images import file_of

SHARP = MaskShape(blur=(0, 0))


def shaped(image, shape=SHARP):
    with Image.open(io.BytesIO(shape_mask(file_of(image), shape, name="mask", max_pixels=10_000))) as mask:
        assert mask.mode == "L"
        return np.asarray(mask).astype(int)


def half(mode="L", on=255, off=0):
    """Return an image of 40 x 20 pixels whose left half is `on`."""
    image = Image.new(mode, (40, 20), off)
    image.paste(on, (0, 0, 20, 20))
    return image


def test_white_is_regenerated():
    mask = shaped(half())
    assert (mask[:, :20] == 255).all()
    assert (mask[:, 20:] == 0).all()


@pytest.mark.parametrize("colour", [(255, 255, 255, 255), (0, 0, 0, 255), (255, 0, 0, 200)])
def test_what_is_opaque_is_regenerated_whatever_its_colour_where_the_rest_is_transparent(colour):
    assert (shaped(half("RGBA", colour, (0, 0, 0, 0))) == shaped(half())).all()


def test_a_mask_that_is_opaque_all_over_is_read_by_its_brightness():
    assert (shaped(half("RGBA", (255, 255, 255, 255), (0, 0, 0, 255))) == shaped(half())).all()


def test_greys_are_hardened_unless_they_are_meant():
    grey = half(on=200, off=100)
    assert set(shaped(grey).flat) == {0, 255}
    assert set(shaped(grey, MaskShape(hard=False, blur=(0, 0))).flat) == {100, 200}


def test_an_inverted_mask_is_the_other_half():
    assert (shaped(half(), MaskShape(inverted=True, blur=(0, 0))) == 255 - shaped(half())).all()


def test_the_blur_softens_the_edge_across_and_leaves_what_is_far():
    mask = shaped(half(), MaskShape(blur=(3, 0)))
    assert (mask == mask[0]).all()
    assert (np.diff(mask[0]) <= 0).all()
    assert 100 < mask[0, 19] < 255
    assert (mask[0, 0], mask[0, 39]) == (255, 0)
    assert (shaped(half(), MaskShape(blur=(0, 3))) == shaped(half())).all()


@pytest.mark.parametrize("data", [b"", b"no image", file_of(Image.new("L", (200, 100)))])
def test_anything_else_is_refused_by_name(data):
    with pytest.raises(InvalidParameter) as caught:
        shape_mask(data, SHARP, name="mask", max_pixels=10_000)
    assert caught.value.param == "mask"
