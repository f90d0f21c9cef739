"""Answers that no device has worked for find room before they are sent: they may be many times as long as the body."""

import contextlib
import io
from types import SimpleNamespace

import pytest
from flask import Flask
from PIL import Image, PngImagePlugin

from imageserver.api.dialects.automatic1111 import views
from imageserver.api.request_context import EXTENSION
from imageserver.api.wsgi.bodies import arriving
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.settings import Settings
from imageserver.web_addresses import TrustedProxies
from tests.support.images import coded


@pytest.fixture
def client():
    """A client of the routes alone, whose answers may have 768 KiB together."""
    app = Flask("answers")
    arriving.register(app, 2**20, 2**20, TrustedProxies(""))
    app.extensions[EXTENSION] = SimpleNamespace(
        settings=Settings(_env_file=None),
        thread_pool=ThreadPool(1),
        decoding_memory=SimpleNamespace(reserve=lambda *_: contextlib.nullcontext()),
        request_ids=SimpleNamespace(next_id=lambda: 5),
    )
    app.register_blueprint(views.blueprint)
    return app.test_client()


def with_long_text():
    texts, file = PngImagePlugin.PngInfo(), io.BytesIO()
    texts.add_text("workflow", "x" * 400_000, zip=True)
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=texts)
    return {"image": coded(file.getvalue())}


def noisy():
    return {"image": coded(Image.effect_noise((32, 32), 64).convert("RGB")), "upscaler_1": "Lanczos"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("png-info", with_long_text()),
        ("extra-single-image", noisy() | {"upscaling_resize": 8}),
        ("extra-batch-images", {"imageList": [{"data": noisy()["image"]}] * 2} | noisy() | {"upscaling_resize": 8}),
    ],
    ids=["png-info", "single", "batch"],
)
def test_what_is_not_read_is_refused_beyond_its_room(client, path, body):
    unread = []
    while (answer := client.post(f"/sdapi/v1/{path}", json=body)).status_code == 200:
        assert len(answer.data) > 2**16
        unread.append(answer)
        assert sum(len(each.data) for each in unread) < 2**20
    assert unread
    assert (answer.status_code, answer.json["code"]) == (429, "queue_full")
    unread.pop().close()
    assert client.post(f"/sdapi/v1/{path}", json=body).status_code == 200
