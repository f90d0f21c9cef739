"""The answer of the OpenAI dialect: each image in the fields that its client reads."""

import base64
from types import SimpleNamespace

import pytest
from flask import Flask

from imageserver.api.dialects.openai_images import responses
from imageserver.api.generation.run import GenerationRequest, GenerationResult
from imageserver.api.output_options import OutputOptions
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.errors import StorageFull
from imageserver.generation import Outcome
from tests.support.factories import generation

FILE = b"an image"
BASE64 = base64.b64encode(FILE).decode()


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setattr(responses, "save_all", lambda service, result: result.files)
    monkeypatch.setattr(responses, "urls_of", lambda paths: [f"http://localhost/{len(path)}" for path in paths])
    return SimpleNamespace(thread_pool=ThreadPool(1))


def answer_of(service, *fields):
    options = OutputOptions(output_format="png", compression=None, aspect_ratio_name=None)
    request = GenerationRequest(number=1, generation=generation(), output_options=options, timeout=9)
    outcome = Outcome(width=64, height=64, seeds=(1,), inference_time=1.0, queue_time=0.0, batch_size=1)
    result = GenerationResult(request, outcome, (FILE,), None, "miss", [])
    with Flask(__name__).test_request_context():
        return responses.images_response(service, result, fields).get_json()


@pytest.mark.parametrize("fields", [("b64_json",), ("url",), ("b64_json", "url")])
def test_an_image_has_the_fields_that_were_asked_for_and_no_other(service, fields):
    [image] = answer_of(service, *fields)["data"]
    assert image == {"seed": 1} | {name: {"b64_json": BASE64, "url": "http://localhost/8"}[name] for name in fields}


def fill_the_disk(monkeypatch):
    def save_all(service, result):
        raise StorageFull("The disk is full.")

    monkeypatch.setattr(responses, "save_all", save_all)


def test_a_full_disk_costs_an_answer_only_its_address(service, monkeypatch):
    fill_the_disk(monkeypatch)
    answer = answer_of(service, "b64_json", "url")
    assert answer["data"] == [{"b64_json": BASE64, "seed": 1}]
    assert answer["warnings"] == ["url is missing: The disk is full."]


def test_an_address_that_was_asked_for_is_an_error_on_a_full_disk(service, monkeypatch):
    fill_the_disk(monkeypatch)
    with pytest.raises(StorageFull):
        answer_of(service, "url")
