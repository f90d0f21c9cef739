"""A stranger's OpenAI script works by changing one URL: proved with the real SDK."""

import asyncio
import base64
import json
from typing import get_args

import openai
import pytest
import requests
from openai.types import ImageModel

from tests.support.images import one_colour, opened
from tests.support.own_loop import run_in_own_loop


@pytest.fixture
def client(fake_server):
    with openai.OpenAI(base_url=fake_server.url + "/v1", api_key="unused", max_retries=0) as client:
        yield client


def test_a_generation_is_an_image_of_the_size_asked_for(client):
    answer = client.images.generate(prompt="a red circle", model="gpt-image-1", size="320x256", n=1)
    image = opened(answer.data[0].b64_json)
    assert (image.format, image.size) == ("PNG", (320, 256))
    assert (answer.size, answer.output_format, answer.background) == ("320x256", "png", "opaque")
    assert answer.created > 1_700_000_000
    assert int(answer._request_id) > 0


def test_auto_is_512_and_every_call_is_another_image(client):
    first = client.images.generate(prompt="a red circle", size="auto")
    second = client.images.generate(prompt="a red circle")
    assert first.size == second.size == "512x512"
    assert first.data[0].seed != second.data[0].seed


def test_several_images_in_another_format_from_one_seed(client):
    answer = client.images.generate(prompt="two", n=2, output_format="webp", extra_body={"seed": 7})
    assert [image.seed for image in answer.data] == [7, 8]
    assert {opened(image.b64_json).format for image in answer.data} == {"WEBP"}


def test_urls_resolve(client):
    answer = client.images.generate(prompt="by url", response_format="url")
    fetched = requests.get(answer.data[0].url, timeout=10, headers={"Connection": "close"})
    assert fetched.headers["Content-Type"] == "image/png"
    assert opened(fetched.content).size == (512, 512)


def test_extras_are_honoured_and_unknown_ones_named(client):
    extra = {"seed": 3, "num_inference_steps": 2, "negative_prompt": "blurry", "sampler": "magic"}
    answer = client.images.generate(prompt="extras", quality="high", style="vivid", user="me", extra_body=extra)
    assert answer.data[0].seed == 3
    assert answer.warnings == ["'sampler' is not a parameter and was ignored."]


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"prompt": ""}, openai.BadRequestError, "prompt"),
        ({"prompt": "x", "n": 11}, openai.BadRequestError, "n"),
        ({"prompt": "x", "size": "huge"}, openai.BadRequestError, "size"),
        ({"prompt": "x", "background": "checked"}, openai.BadRequestError, "background"),
        ({"prompt": "x", "extra_body": {"num_inference_steps": 0}}, openai.BadRequestError, "num_inference_steps"),
    ],
)
def test_wrong_fields_raise_the_sdks_own_errors_naming_them(client, fields, error, param):
    with pytest.raises(error) as raised:
        client.images.generate(**fields)
    assert raised.value.param == param
    assert raised.value.type == "invalid_request_error"
    assert raised.value.request_id


def test_an_answer_says_what_it_took_and_how_it_was_generated(client):
    answer = client.images.generate(prompt="three short words", n=2, size="64x64", quality="low")
    assert answer.usage.model_dump() == {
        "input_tokens": 3,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 3},
        "output_tokens": 200,
        "output_tokens_details": {"image_tokens": 200, "text_tokens": 0},
        "prompt_tokens": 3,
        "completion_tokens": 200,
        "total_tokens": 203,
    }
    assert answer.quality == "high"
    fast = client.images.generate(prompt="three short words", size="64x64", extra_body={"quality_tier": "fast"})
    assert fast.quality == "low"


def test_what_a_client_leaves_open_may_be_null(client):
    answer = client.images.generate(
        prompt="nulls", n=None, size=None, quality=None, output_format=None, response_format=None,
        extra_body={"seed": None, "num_inference_steps": 2.0},
    )  # fmt: skip
    assert answer.size == "512x512"
    assert answer.warnings == []


def test_the_tokens_of_the_demo_model_are_those_of_its_tokenizer_and_its_grid(demo_server):
    with openai.OpenAI(base_url=demo_server.url + "/v1", api_key="unused", max_retries=0) as client:
        short = client.images.generate(prompt="a red circle", size="256x256")
        # Generated at 320 x 256 and cropped.
        longer = client.images.generate(prompt="a red circle on a blue background", size="300x256")
    assert 0 < short.usage.input_tokens < longer.usage.input_tokens < 20
    assert (short.usage.output_tokens, longer.usage.output_tokens) == (16, 20)


def test_a_failed_generation_is_a_server_error(client):
    with pytest.raises(openai.InternalServerError, match="told to fail"):
        client.images.generate(prompt="[fail]")


def test_the_loaded_model_is_listed_and_found(client):
    model = client.models.list().data[0]
    assert model.id == "fake"
    assert client.models.retrieve(model.id).id == model.id
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("whisper-1")


def test_openais_names_are_listed_and_found_as_other_names_of_the_default_model(client):
    listed = {model.id: model for model in client.models.list().data}
    assert listed.keys() >= {"fake", *get_args(ImageModel)}
    for name in ("gpt-image-1", "dall-e-2", "dall-e-3"):
        model = client.models.retrieve(name)
        assert (model.id, model.alias_of, model.default) == (name, "fake", False)
    assert (listed["fake"].alias_of, listed["fake"].default) == (None, True)


@pytest.mark.parametrize(
    ("model", "has_url", "has_base64"),
    [(openai.omit, True, True), ("dall-e-3", True, True), ("gpt-image-1", False, True)],
)
def test_the_default_answer_has_what_the_client_of_such_a_model_reads(client, model, has_url, has_base64):
    [image] = client.images.generate(prompt="either", model=model, size="64x64").data
    assert (image.url is not None, image.b64_json is not None) == (has_url, has_base64)
    if has_url:
        fetched = requests.get(image.url, timeout=10, headers={"Connection": "close"})
        assert fetched.content == base64.b64decode(image.b64_json)


def test_transparency_that_a_model_does_not_generate_is_a_warning(client):
    answer = client.images.generate(prompt="glass", size="64x64", background="transparent")
    assert answer.background == "opaque"
    assert answer.warnings == ["background is ignored: the model generates opaque images."]


@pytest.mark.parametrize("address", ["", "/", "/v1/", "//v1", "/v1/v1"])
def test_the_base_url_may_be_the_servers_address_or_have_a_slash_too_many(fake_server, address):
    with openai.OpenAI(base_url=fake_server.url + address, api_key="unused", max_retries=0) as client:
        assert client.images.generate(prompt="x", size="64x64").size == "64x64"
        assert client.models.retrieve("gpt-image-1").id == "gpt-image-1"


def test_azures_client_names_its_deployment_in_the_path(fake_server):
    options = {"azure_endpoint": fake_server.url, "api_key": "unused", "api_version": "2025-04-01-preview"}
    with openai.AzureOpenAI(**options, max_retries=0) as client:
        assert client.images.generate(prompt="x", model="fake", size="64x64").model == "fake"
        assert client.images.edit(image=one_colour(), prompt="x", model="gpt-image-1").size == "96x64"
    with openai.AzureOpenAI(**options, azure_deployment="gpt-image-1", max_retries=0) as client:
        [image] = client.images.generate(prompt="x", size="64x64").data
    assert (image.url, image.b64_json is not None) == (None, True)


def test_an_address_without_a_route_raises_the_sdks_own_error(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.embeddings.create(model="x", input="x")
    assert raised.value.type == "invalid_request_error"


def test_json_that_curl_sends_as_a_form_is_understood(fake_server):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    image = base64.b64encode(one_colour()).decode()
    for path, body in (
        ("/v1/images/generations", {"prompt": "x"}),
        ("/v1/images/edits", {"prompt": "x", "image": image}),
        ("/generate", {"prompt": "x"}),
    ):
        answer = fake_server.ask("POST", path, data=json.dumps(body), headers=form, timeout=20)
        assert answer.status_code == 200, answer.text


def test_the_async_client_generates_several_at_once(fake_server):
    async def generate():
        async with openai.AsyncOpenAI(base_url=fake_server.url + "/v1", api_key="unused") as client:
            return await asyncio.gather(*(client.images.generate(prompt=f"number {n}", size="64x64") for n in range(4)))

    assert [answer.size for answer in run_in_own_loop(generate())] == ["64x64"] * 4


def test_the_sdk_retries_what_is_full_and_succeeds(own_servers):
    server = own_servers(MAX_QUEUE="1")
    busy = server.start_generating("[step=0.05]")
    server.wait_until_active()
    with openai.OpenAI(base_url=server.url + "/v1", api_key="unused", max_retries=4) as client:
        assert client.images.generate(prompt="patient", size="64x64").size == "64x64"
    assert busy.result(30).ok
