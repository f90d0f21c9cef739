"""`inputs` is a prompt or an image: an address is the image of a client that sends a prompt beside it."""

import json
from typing import Any

import pytest
from flask import Flask

from imageserver.api.dialects import huggingface
from tests.support.blocking import cpu_seconds, longest_block

ADDRESS = "https://images.example/cat.png"


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def fetch(service: Any, text: str, *, name: str) -> bytes:
        found.append(text)
        return b"image"

    monkeypatch.setattr(huggingface, "fetch", fetch)
    return found


def read(content: dict[str, Any]) -> huggingface.ReadBody:
    service: Any = None
    with Flask("test").test_request_context():
        return huggingface._read_json(service, json.dumps(content).encode())


@pytest.mark.parametrize("parameters", [{"prompt": ""}, {"prompt": " "}, {"prompt": "a dog"}])
@pytest.mark.parametrize("inputs", [ADDRESS, ADDRESS.upper(), f"{ADDRESS} \n"])
def test_an_address_beside_a_prompt_even_a_blank_one_is_an_image(inputs, parameters, fetched):
    body = read({"inputs": inputs, "parameters": parameters})
    assert (fetched, body.image) == ([inputs], b"image")
    assert any("variation" in warning for warning in body.warnings) == (not parameters["prompt"].strip())


@pytest.mark.parametrize("content", [{}, {"parameters": None}, {"parameters": ""}, {"parameters": {"seed": 1}}])
def test_an_address_alone_is_a_prompt(content, fetched):
    body = read({"inputs": ADDRESS} | content)
    assert (fetched, body.image, body.fields["prompt"]) == ([], None, ADDRESS)


@pytest.mark.parametrize("text", ["a cat", "https://example.com in neon letters", f"{ADDRESS}\n{ADDRESS}"])
def test_a_text_beside_a_blank_prompt_is_a_prompt_even_one_that_begins_with_an_address(text, fetched):
    assert read({"inputs": text, "parameters": {"prompt": ""}}).fields["prompt"] == text
    assert fetched == []


@pytest.mark.parametrize("blank", ["", " ", None])
def test_a_target_size_of_blanks_leaves_the_size_to_width_and_height(blank):
    sizes = {"width": 64, "height": 128, "target_size": {"width": blank, "height": blank}}
    fields = read({"inputs": "a cat", "parameters": sizes}).fields
    assert (fields["width"], fields["height"]) == (64, 128)


def test_a_text_of_any_length_keeps_others_waiting_for_a_fraction_of_the_time_that_reading_it_as_an_address_takes():
    text = "http://" + ".a" * 2_000_000 + " b"
    parameters = huggingface.HuggingFaceParameters(prompt="")
    assert not huggingface._is_image(text, parameters)
    blocks = [longest_block(lambda: huggingface._is_image(text, parameters)) for _ in range(3)]
    assert min(blocks) < cpu_seconds(lambda: huggingface.WEB_ADDRESS.match(text)) / 2
