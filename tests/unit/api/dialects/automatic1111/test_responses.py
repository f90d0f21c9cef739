"""An answer repeats what was sent, without secrets and large images, and an error says its sentence everywhere."""

import json
import math

from imageserver.api.dialects.automatic1111 import responses
from imageserver.api.dialects.automatic1111.bodies import sent
from imageserver.errors import QueueFull
from tests.support.automatic1111_bodies import img2img, txt2img


def test_the_parameters_answered_are_those_sent_with_defaults_and_no_secrets_or_large_images():
    body = img2img(prompt="x", auth="me:secret", url="http://x", foo=1, hr_scale=2, mask="aGk=", s_tmax=math.inf)
    told = sent(body)
    assert (told["prompt"], told["n_iter"], told["hr_scale"], told["s_tmax"]) == ("x", 1, 2, None)
    assert (told["init_images"], told["mask"]) == (None, None)
    assert told.keys() & {"auth", "url", "foo"} == set()
    assert sent(img2img(include_init_images=True))["init_images"] == ["aGk="]


def test_an_image_in_a_field_without_effect_is_not_sent_back():
    scripts = {"adetailer": {"args": [{"image": "A" * 20_000, "model": "face", "threshold": math.nan}]}}
    told = sent(txt2img(prompt="x", alwayson_scripts=scripts))
    assert told["alwayson_scripts"] == {"adetailer": {"args": [{"image": None, "model": "face", "threshold": None}]}}
    assert sent(img2img(init_images=["A" * 20_000], include_init_images=True))["init_images"] == ["A" * 20_000]
    names = sent(txt2img(sampler_name="A" * 20_000, styles=["A" * 20_000], override_settings={"A" * 20_000: 1}))
    assert max(map(len, map(str, names.values()))) < 11_000


def test_a_field_of_many_short_texts_is_not_sent_back_either():
    texts = ["🎨" * 5000] * 10
    told = sent(txt2img(prompt="x", styles=texts, alwayson_scripts={"x": {"args": texts}}))
    assert (told["styles"], told["alwayson_scripts"], told["prompt"]) == (None, None, "x")


def test_the_envelope_has_the_sentence_in_every_place_that_clients_read(monkeypatch):
    monkeypatch.setattr("imageserver.api.errors.request_id", lambda: 5)
    told = responses.envelope(QueueFull("The server is full."))
    assert told == {
        "error": "QueueFull", "detail": "The server is full.", "body": "", "errors": "The server is full.",
        "code": "queue_full", "param": None, "request_id": 5,
    }  # fmt: skip
    assert responses.Automatic1111Error.model_validate(told)
    json.dumps(told)
