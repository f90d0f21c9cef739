"""An image is enlarged within the limits, whichever way it is turned by its EXIF."""

import contextlib
from types import SimpleNamespace

import pytest
from flask import Flask
from PIL import ExifTags, Image

from imageserver.api.dialects.automatic1111.extras.bodies import ExtrasBody
from imageserver.api.upscaling.enlarge import enlarge
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.errors import InvalidParameter
from imageserver.imaging.decoding import BYTES_KEPT
from imageserver.settings import Settings
from tests.support.images import file_of, opened

MAX_PIXELS = 128 * 128
TURNED = 6


def jpeg(width, height, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return file_of(Image.new("RGB", (width, height), "teal"), "JPEG", exif=exif)


def enlarged(data, width, height):
    """Return the size of the image in a box of that size, and the memory that was reserved for it."""
    reserved = []

    @contextlib.contextmanager
    def reserve(size, timeout, environ):
        reserved.append(size)
        yield

    service = SimpleNamespace(
        settings=Settings(_env_file=None, max_pixels=MAX_PIXELS),
        thread_pool=ThreadPool(1),
        decoding_memory=SimpleNamespace(reserve=reserve),
    )
    body = ExtrasBody(
        upscaler_1="Lanczos", resize_mode=1, upscaling_crop=False, upscaling_resize_w=width, upscaling_resize_h=height
    )
    with Flask(__name__).test_request_context():
        image = enlarge(service, data, body.enlargement(), name="image")
    return opened(image).size, reserved[0]


def test_an_image_on_its_side_is_within_the_limit_of_pixels():
    """As stored, it would fill the box by a sixth."""
    with pytest.raises(InvalidParameter, match="would be 800x320") as refused:
        enlarged(jpeg(40, 100, TURNED), 800, 320)
    assert refused.value.param == "upscaling_resize_w"
    assert enlarged(jpeg(40, 100, 1), 800, 320)[0] == (128, 320)


def test_memory_is_reserved_for_the_image_as_it_stands_upright():
    (width, height), reserved = enlarged(jpeg(40, 100, TURNED), 400, 160)
    assert (width, height) == (400, 160)
    assert reserved >= 3 * BYTES_KEPT * width * height


def test_an_image_that_is_too_large_whichever_way_it_is_turned_is_not_decoded(monkeypatch):
    monkeypatch.setattr("imageserver.imaging.decoding.read_image", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(InvalidParameter, match="the limit is 65536 pixels"):
        enlarged(jpeg(40, 40, TURNED), 800, 800)
