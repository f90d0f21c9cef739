"""A preview is enlarged to the size of the answer and shows the same part of the generation."""

import io

import numpy as np
import pytest
from PIL import Image

from imageserver.imaging.previews import image_file


def enlarged(small, scale, wanted, **options):
    height, width = small.shape[:2]
    data = image_file(small.tobytes(), (width, height), scale, wanted, **({"output_format": "png"} | options))
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == wanted
        return image.format, np.asarray(image.convert("RGB")).astype(int)


def halves(width, height):
    """Return pixels that are black on the left and white on the right."""
    small = np.zeros((height, width, 3), np.uint8)
    small[:, width // 2 :] = 255
    return small


def test_a_preview_fills_the_answer():
    _, large = enlarged(halves(8, 4), 8, (64, 32))
    assert (large[:, :24] < 10).all()
    assert (large[:, 40:] > 245).all()


def test_what_the_engine_crops_is_not_shown():
    # Generated at 128 x 64 for an answer of 96 x 40: the outermost two columns and one and a half rows are cut away.
    small = np.full((8, 16, 3), 200, np.uint8)
    small[:, :2], small[:, -2:], small[0], small[-1] = 0, 0, 0, 0
    _, large = enlarged(small, 8, (96, 40))
    inside = large[6:-6, 6:-6]
    assert (inside.min(), inside.max()) == pytest.approx((200, 200), abs=20)


def test_the_middle_stays_the_middle():
    _, large = enlarged(halves(16, 8), 8, (100, 44))
    dark = (large[..., 0] < 128).sum(axis=1)
    assert dark.min() == dark.max() == 50


def test_a_preview_smaller_than_its_scale_says_is_shown_whole():
    _, large = enlarged(halves(2, 2), 1, (64, 64))
    assert (large[0, 0], large[0, -1]) == pytest.approx((0, 255)) or large[0, 0].max() < large[0, -1].min()


@pytest.mark.parametrize(("output_format", "name"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_it_is_a_file_of_the_format_asked_for(output_format, name):
    kind, _ = enlarged(halves(4, 4), 16, (64, 64), output_format=output_format, compression=50)
    assert kind == name
