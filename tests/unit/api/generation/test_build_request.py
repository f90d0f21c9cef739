"""A request is built for the model that it is for."""

import contextlib
import time
from types import SimpleNamespace

import pytest
from flask import Flask, g
from werkzeug.datastructures import Headers

from imageserver.api.generation.build_request import build_request, parse_request
from imageserver.api.inputs.images.init_image import InitImage
from imageserver.api.inputs.images.request_images import Images
from imageserver.api.request_context import EXTENSION
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.errors import InvalidParameter
from imageserver.generation import ModelInfo
from imageserver.settings import Settings
from imageserver.web_addresses import TrustedProxies
from tests.support.images import one_colour

SERVICE = SimpleNamespace(
    settings=Settings(_env_file=None),
    thread_pool=ThreadPool(1),
    proxies=TrustedProxies(""),
    registry={},
    output_sealer=None,
    output_signer=None,
    client=SimpleNamespace(request_admission=lambda *_: None),
    decoding_memory=SimpleNamespace(reserve=lambda *_: contextlib.nullcontext()),
)


def enlarged(strength, *kinds, **service):
    """Return the request to enlarge an image, for a model of these kinds."""
    app = Flask("build")
    service = app.extensions[EXTENSION] = SimpleNamespace(**vars(SERVICE) | service)
    with app.test_request_context():
        g.arrived = time.monotonic()
        parsed = parse_request(
            service,
            {"prompt": "x", "upscale": 2, "upscale_strength": strength},
            Headers(),
            dialect="openai",
            images=Images(InitImage(image=one_colour(96, 64))),
            upscale_only=True,
        )
        return build_request(service, 1, parsed, ModelInfo(name="model", kinds=kinds)).request


@pytest.mark.parametrize("kind", ["text", "image", "edit"])
def test_lanczos_alone_enlarges_an_image_whatever_the_model_generates(kind):
    generation = enlarged(0, kind).generation
    assert (generation.answer_size, generation.generated_steps) == ((192, 128), 0)


def test_details_need_a_model_that_generates_over_an_image():
    assert enlarged(0.5, "image").generation.answer_size == (192, 128)
    with pytest.raises(InvalidParameter, match="generates from text alone"):
        enlarged(0.5, "text")


def test_only_an_answer_that_is_signed_has_ingredients():
    pytest.importorskip("c2pa", reason="the extra c2pa is not installed")
    counts = [
        len(enlarged(strength, "image", output_signer=object()).output_options.ingredients) for strength in (0, 0.5)
    ]
    assert counts == [0, 1]
