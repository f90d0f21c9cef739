"""The extras enlarge to the size that AUTOMATIC1111 would choose."""

import contextlib
import threading
from types import SimpleNamespace

import msgspec
import pytest
from flask import Flask

from imageserver.api import errors
from imageserver.api.dialects.automatic1111.extras import views
from imageserver.api.dialects.automatic1111.extras.bodies import (
    UNSUPPORTED,
    BatchImagesBody,
    ExtrasBody,
    InterrogateBody,
    SingleImageBody,
)
from imageserver.api.request_context import EXTENSION
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.settings import Settings
from tests.support.images import coded, one_colour, opened

GIVEN = (100, 50)
SMALL = Settings(_env_file=None, max_pixels=64 * 64)


@pytest.fixture
def client():
    """A client of the routes alone, whose images may have 128 x 128 pixels."""
    app = Flask("extras")
    memory = SimpleNamespace(reserve=lambda *_: contextlib.nullcontext())
    app.extensions[EXTENSION] = SimpleNamespace(
        settings=SMALL,
        thread_pool=ThreadPool(1),
        decoding_memory=memory,
        request_ids=SimpleNamespace(next_id=lambda: 5),
    )
    app.register_blueprint(views.blueprint)
    errors.register(app)
    return app.test_client()


def sent(client, count):
    body = {"upscaler_1": "Lanczos", "imageList": [{"data": coded(one_colour(32, 32))}] * count}
    return client.post("/sdapi/v1/extra-batch-images", json=body)


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


def test_a_feature_that_is_switched_off_as_text_gives_no_warning():
    body = ExtrasBody(gfpgan_visibility="0", codeformer_visibility="0.0", extras_upscaler_2_visibility="0.5")
    assert body.warnings() == ["extras_upscaler_2_visibility is ignored."]


ONE = coded(one_colour(32, 32))
REQUIRED = {
    "extra-single-image": (SingleImageBody, {"image": ONE}),
    "extra-batch-images": (BatchImagesBody, {"imageList": [{"data": ONE}]}),
}


@pytest.mark.parametrize("blank", ["", " \n"])
@pytest.mark.parametrize("path", REQUIRED)
def test_blanks_alone_count_as_left_out(client, path, blank):
    model, required = REQUIRED[path]
    optional = {*model.model_fields, *UNSUPPORTED, "upscaler_2", "upscale_first", "show_extras_results"} - {*required}
    plain = client.post(f"/sdapi/v1/{path}", json=required)
    blanks = client.post(f"/sdapi/v1/{path}", json=required | dict.fromkeys(optional, blank))
    assert (plain.status_code, blanks.status_code) == (200, 200), blanks.text
    assert blanks.json == plain.json
    assert "X-Warnings" not in blanks.headers
    for name, value in {"resize_mode": "none", "upscaling_resize": "x", "upscaling_crop": "no"}.items():
        refused = client.post(f"/sdapi/v1/{path}", json=required | {name: value})
        assert (refused.status_code, refused.json["param"]) == (422, name)


def test_a_blank_model_of_an_interrogation_is_the_default_one():
    for blank in ("", " \n"):
        assert InterrogateBody(image="aGk=", model=blank).form == InterrogateBody(image="aGk=").form


def test_a_batch_has_no_more_pixels_than_one_image_may_have(client):
    assert [opened(each).size for each in sent(client, 4).json["images"]] == [(64, 64)] * 4
    refused = sent(client, 5)
    assert (refused.status_code, refused.json["param"]) == (422, "imageList")
    assert "imageList[4]: the images up to this one have 20480 pixels; the limit is 16384" in refused.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("extra-single-image", {"image": ONE}),
        ("extra-batch-images", {"imageList": [{"data": ONE}]}),
    ],
)
def test_answers_are_written_beside_the_greenlet_of_the_request(client, monkeypatch, path, body):
    threads, encode = [], msgspec.json.encode

    def seen(content):
        threads.append(threading.get_ident())
        return encode(content)

    monkeypatch.setattr(msgspec.json, "encode", seen)
    assert client.post(f"/sdapi/v1/{path}", json=body).status_code == 200
    assert threads
    assert threading.get_ident() not in threads
