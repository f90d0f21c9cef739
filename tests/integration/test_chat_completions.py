"""Images in a chat over OpenAI's chat completions, with the real SDK; the fake engine edits by changing nothing."""

import base64
from typing import Any, get_type_hints

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from imageserver.api.dialects.chat.bodies import IGNORED, ChatBody, checked, warnings_of
from tests.support.images import coded, one_colour, opened, pixels

IMAGE = {"modalities": ["image", "text"]}
SMALL = IMAGE | {"size": "64x64"}


@pytest.fixture
def client(fake_server):
    with openai.OpenAI(base_url=fake_server.url + "/v1", api_key="unused", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, *messages: Any, **fields: Any) -> Any:
    said = [{"role": "user", "content": each} if isinstance(each, str | list) else each for each in messages]
    extra = fields.pop("extra", SMALL)
    return client.chat.completions.create(model="gpt-image-1", messages=said, extra_body=extra, **fields)


def image_of(message: Any) -> str:
    [image] = message.images
    head, _, data = image["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    return data


def sent(image: bytes | str) -> dict[str, Any]:
    data = image if isinstance(image, str) else coded(image)
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def test_a_prompt_in_a_chat_is_answered_with_an_image_and_a_link_to_it(client, fake_server):
    answer = ask(client, {"role": "system", "content": "Be brief."}, "a red circle", extra=SMALL | {"seed": 7})
    [choice] = answer.choices
    image = opened(image_of(choice.message))
    assert (image.format, image.size, choice.finish_reason, choice.seed) == ("PNG", (64, 64), "stop", 7)
    path = choice.message.content.removeprefix(f"![image]({fake_server.url}").removesuffix(")")
    assert fake_server.get(path).content == base64.b64decode(image_of(choice.message))
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 100, 103)
    assert (answer.model, answer.warnings) == ("fake", [])


def test_a_question_without_the_modality_gets_one_sentence_and_no_image(client):
    for extra in ({}, {"modalities": ["text"]}):
        message = ask(client, "What is the capital of France?", extra=extra).choices[0].message
        assert message.content == (
            'This server generates images, not text: send "modalities": ["image", "text"] and describe an image.'
        )
        assert message.images == []


def test_what_a_client_sends_for_a_language_model_changes_nothing_and_anything_else_is_named(client):
    answer = ask(client, "a", temperature=0.2, max_tokens=5, stop="x", extra=SMALL | {"sampler": "magic"})
    assert answer.warnings == ["'sampler' is not a parameter and was ignored."]


def test_several_images_are_several_choices_and_the_client_chooses_how_it_gets_them(client):
    answer = ask(client, "two", n=2, extra=SMALL | {"seed": 7, "image_output": "images"})
    assert [(choice.index, choice.seed, choice.message.content) for choice in answer.choices] == [
        (0, 7, ""),
        (1, 8, ""),
    ]
    [choice] = ask(client, "a link", extra=SMALL | {"image_output": "link"}).choices
    assert choice.message.images == []
    assert choice.message.content.startswith("![image](http://")


def test_openrouters_aspect_ratio_asks_for_an_image_of_that_shape(client):
    answer = ask(client, "wide", extra={"image_config": {"aspect_ratio": "16:9", "image_size": "1K"}})
    assert opened(image_of(answer.choices[0].message)).size == (1664, 928)
    assert answer.warnings == ["'image_config.image_size' is not a parameter and was ignored."]


def test_an_image_in_the_message_is_the_one_to_start_from(client):
    answer = ask(client, [{"type": "text", "text": "make it blue"}, sent(one_colour(96, 64))], extra=IMAGE)
    assert (pixels(image_of(answer.choices[0].message)) == pixels(one_colour(96, 64))).all()


def histories(first: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the ways in which clients send back the answer that they got."""
    data = image_of(first)
    return {
        "as it came": [first.model_dump()],
        "its text only": [{"role": "assistant", "content": first.content}],
        "as parts": [{"role": "assistant", "content": [{"type": "text", "text": ""}, sent(data)]}],
        "as the user's": [{"role": "assistant", "content": ""}, {"role": "user", "content": [sent(data)]}],
    }


def test_the_last_image_of_the_conversation_is_the_source_however_the_client_sends_it_back(client, subtests):
    first = ask(client, "a red circle", extra=SMALL | {"seed": 7}).choices[0].message
    for name, history in histories(first).items():
        with subtests.test(name):
            answer = ask(client, "a red circle", *history, "make it blue", extra=IMAGE)
            assert (pixels(image_of(answer.choices[0].message)) == 7).all()
            assert opened(image_of(answer.choices[0].message)).size == (64, 64)


def test_an_image_that_is_no_longer_saved_is_named_and_a_new_one_generated(client, fake_server):
    gone = f"![image]({fake_server.url}/images/gone.png)"
    answer = ask(client, "a", {"role": "assistant", "content": gone}, "make it blue")
    assert answer.warnings == ["The last image is no longer saved, so a new one was generated."]
    elsewhere = ask(client, "a", {"role": "assistant", "content": "![image](http://example.org/a.png)"}, "make it blue")
    assert elsewhere.warnings == []


def test_a_stream_ends_with_the_image_and_the_usage(client):
    chunks = list(ask(client, "a red circle", stream=True, stream_options={"include_usage": True}))
    [first] = chunks[0].choices
    assert opened(image_of(first.delta)).size == (64, 64)
    assert (first.delta.role, chunks[1].choices[0].finish_reason) == ("assistant", "stop")
    assert (chunks[2].choices, chunks[2].usage.completion_tokens) == ([], 100)
    [said, end] = ask(client, "What time is it?", stream=True, extra={})
    assert said.choices[0].delta.content.startswith("This server generates images")
    assert end.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("messages", "extra", "param"),
    [
        (["a"], SMALL | {"size": "huge"}, "size"),
        ([{"role": "assistant", "content": "hello"}], SMALL, "messages"),
        ([[sent(one_colour())]], SMALL, "messages"),
        ([[{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "no image"}}]], SMALL, "messages"),
        ([[{"type": "text", "text": "x"}, {"type": "image_url"}]], SMALL, "messages"),
    ],
)
def test_wrong_fields_raise_the_sdks_own_error_naming_them(client, messages, extra, param):
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, *messages, extra=extra)
    assert raised.value.param == param


def test_a_failure_is_the_sdks_error_also_in_the_middle_of_a_stream(client):
    with pytest.raises(openai.InternalServerError, match="told to fail"):
        ask(client, "[fail]")
    with pytest.raises(openai.APIError, match="told to fail"):
        list(ask(client, "[fail] streamed", stream=True))


@pytest.mark.parametrize("address", ["", "/v1/v1"])
def test_the_base_url_may_lack_its_version_or_have_it_twice(fake_server, address):
    with openai.OpenAI(base_url=fake_server.url + address, api_key="unused", max_retries=0) as client:
        assert image_of(ask(client, "anywhere").choices[0].message)


def test_azures_client_names_its_deployment_in_the_path(fake_server):
    options = {"azure_endpoint": fake_server.url, "api_key": "unused", "api_version": "2025-04-01-preview"}
    with openai.AzureOpenAI(**options, max_retries=0) as client:
        answer = client.chat.completions.create(
            model="fake", messages=[{"role": "user", "content": "in Azure's way"}], extra_body=SMALL
        )
    assert (answer.model, opened(image_of(answer.choices[0].message)).size) == ("fake", (64, 64))


def test_every_documented_parameter_is_known_or_ignored_on_purpose():
    documented = get_type_hints(CompletionCreateParamsBase).keys()
    assert len(documented) > 30
    assert documented - ChatBody.model_fields.keys() <= IGNORED
    assert warnings_of(checked({"messages": [{}], "stop": "x", "other": 1})) == [
        "'other' is not a parameter and was ignored."
    ]


def test_answers_and_chunks_have_the_fields_of_pythons_types(client):
    answer = ask(client, "every field")
    ChatCompletion.model_validate_json(answer.model_dump_json(), strict=True)
    for chunk in ask(client, "every field", stream=True):
        ChatCompletionChunk.model_validate_json(chunk.model_dump_json(), strict=True)
