"""Images over OpenAI's Responses API, with the real SDK; the fake engine returns an image that it edits."""

import json
from typing import Any, get_type_hints

import openai
import pytest
from openai.types.responses import Response
from openai.types.responses.response_create_params import ResponseCreateParamsBase
from openai.types.responses.tool_param import ImageGeneration
from PIL import Image

from imageserver.api.dialects.responses.bodies import IGNORED, REFUSED, ImageTool, ResponsesBody, checked, warnings_of
from tests.support.images import coded, one_colour, opened, pixels

TOOL = {"type": "image_generation"}
SMALL = TOOL | {"size": "64x64"}
SENTENCE = (
    'This server generates images, not text: add {"type": "image_generation"} to the tools and describe an image.'
)


@pytest.fixture
def client(fake_server):
    with openai.OpenAI(base_url=fake_server.url + "/v1", api_key="unused", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, said: Any, tool: dict[str, Any] | None = SMALL, **fields: Any) -> Any:
    return client.responses.create(model="gpt-5", input=said, tools=[tool] if tool else openai.omit, **fields)


def call_of(response: Any) -> Any:
    [call] = [item for item in response.output if item.type == "image_generation_call"]
    return call


def is_edit(response: Any, colour: int) -> bool:
    """Return whether the image is the one of that colour, which the fake engine leaves as it is."""
    call = call_of(response)
    return call.action == "edit" and bool((pixels(call.result) == colour).all())


def user(*parts: Any) -> dict[str, Any]:
    content = [{"type": "input_text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": content}


def sent(image: bytes) -> dict[str, Any]:
    return {"type": "input_image", "image_url": f"data:image/png;base64,{coded(image)}"}


@pytest.mark.parametrize("address", ["", "/", "/v1/v1"])
def test_the_base_url_may_lack_its_version_or_have_it_twice(fake_server, address):
    with openai.OpenAI(base_url=fake_server.url + address, api_key="unused", max_retries=0) as client:
        assert opened(call_of(ask(client, "anywhere")).result).size == (64, 64)


def test_azures_client_gets_an_image_too(fake_server):
    options = {"azure_endpoint": fake_server.url, "api_key": "unused", "api_version": "2025-04-01-preview"}
    with openai.AzureOpenAI(**options, max_retries=0) as client:
        assert opened(call_of(ask(client, "in Azure's way")).result).size == (64, 64)


def test_the_tool_generates_an_image_and_a_message_says_what_it_is(client):
    tool = SMALL | {
        "seed": 7,
        "quality": "low",
        "output_format": "webp",
        "background": "opaque",
        "model": "gpt-image-1",
    }
    response = ask(client, "a red circle", tool, instructions="Be brief.", metadata={"for": "me"}, temperature=0.5)
    call = call_of(response)
    image = opened(call.result)
    assert (image.format, image.size, call.status, call.action) == ("WEBP", (64, 64), "completed", "generate")
    assert (call.size, call.output_format, call.background, call.revised_prompt) == (
        "64x64", "webp", "opaque", "a red circle",
    )  # fmt: skip
    assert response.output_text == "The image is 64x64, its seed is 7."
    assert (response.status, response.model, response.metadata, response.warnings) == (
        "completed", "fake", {"for": "me"}, [],
    )  # fmt: skip
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (3, 100, 103)


@pytest.mark.parametrize(
    ("tool", "choice"),
    [(None, openai.omit), (SMALL, "none"), (SMALL, {"type": "function", "name": "weather"})],
)
def test_a_question_without_the_tool_gets_one_sentence_and_no_image(client, tool, choice):
    response = ask(client, "What is the capital of France?", tool, tool_choice=choice)
    assert (response.output_text, len(response.output)) == (SENTENCE, 1)


@pytest.mark.parametrize(
    "choice",
    ["required", {"type": "image_generation"}, {"type": "allowed_tools", "mode": "auto", "tools": [TOOL]}],
)
def test_a_choice_of_the_tool_generates(client, choice):
    assert call_of(ask(client, "a", tool_choice=choice))


def test_previous_response_id_edits_its_image_also_after_a_question_in_between(client):
    first = ask(client, "a red circle", SMALL | {"seed": 7})
    assert is_edit(ask(client, "make it blue", TOOL, previous_response_id=first.id), 7)
    question = ask(client, "What is it?", None, previous_response_id=first.id)
    assert question.output_text == SENTENCE
    assert is_edit(ask(client, "make it blue", TOOL, previous_response_id=question.id), 7)
    another = ask(client, "another", SMALL | {"action": "generate"}, previous_response_id=first.id)
    assert call_of(another).action == "generate"


def test_a_question_that_follows_no_image_leaves_none_to_edit(client):
    question = ask(client, "Who are you?", None)
    assert call_of(ask(client, "a red circle", previous_response_id=question.id)).action == "generate"


def test_the_last_image_of_the_input_is_the_source_however_the_client_sends_it_back(client, subtests):
    first = ask(client, "a red circle", SMALL | {"seed": 7})
    call = call_of(first)
    ways = {
        "the whole output": [item.model_dump(exclude_none=True) for item in first.output],
        "the call by its id": [{"type": "image_generation_call", "id": call.id}],
        "a reference": [{"type": "item_reference", "id": call.id}],
        "the user's image": [{"role": "user", "content": [{"type": "input_image", "image_url": call.result}]}],
    }
    for name, history in ways.items():
        with subtests.test(name):
            assert is_edit(ask(client, [user("a red circle"), *history, user("make it blue")], TOOL), 7)


def test_an_older_image_may_be_gone(client):
    first = ask(client, "a red circle", SMALL | {"seed": 7})
    gone = {"type": "image_generation_call", "id": ask(client, "x", store=False).output[0].id}
    kept = {"type": "image_generation_call", "id": call_of(first).id}
    assert is_edit(ask(client, [user("x"), gone, kept, user("make it blue")], TOOL), 7)
    with pytest.raises(openai.BadRequestError, match="not kept"):
        ask(client, [user("x"), kept, gone, user("make it blue")], TOOL)


def test_an_image_beside_the_prompt_is_edited_and_its_mask_says_where(client):
    image = one_colour(96, 64)
    edited = ask(client, [user("make it blue", sent(image))], TOOL)
    assert (pixels(call_of(edited).result) == pixels(image)).all()
    hole = {"image_url": "data:image/png;base64," + coded(Image.new("RGBA", (96, 64)))}
    masked = ask(client, [user("make it blue", sent(image))], TOOL | {"input_image_mask": hole})
    assert opened(call_of(masked).result).size == (96, 64)
    assert "input_image_mask" not in json.dumps(masked.to_dict()["tools"])


@pytest.mark.parametrize(
    ("said", "fields", "param"),
    [
        ([user("x", {"type": "input_image", "file_id": "file-1"})], {}, "input"),
        ([{"role": "assistant", "content": "hello"}], {}, "input"),
        ("x", {"previous_response_id": "resp_unknown"}, "previous_response_id"),
        ("x", {"conversation": "conv_1"}, "conversation"),
        ("x", {"tool": TOOL | {"size": "huge"}}, "size"),
        ("x", {"tool": TOOL | {"n": 2}}, "n"),
        ("x", {"tool": TOOL | {"action": "edit"}}, "input"),
        ("x", {"tool": TOOL | {"input_image_mask": {"image_url": "!"}}}, "input_image_mask"),
    ],
)
def test_wrong_fields_raise_the_sdks_own_error_naming_them(client, said, fields, param):
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, said, **fields)
    assert raised.value.param == param


def test_what_has_no_effect_is_named(client):
    tool = SMALL | {"sampler": "magic", "partial_images": 2, "input_fidelity": "high"}
    tools = [tool, {"type": "web_search"}]
    response = client.responses.create(model="gpt-5", input="a", tools=tools, extra_body={"further": 1})
    assert response.warnings == [
        "'further' is not a parameter and was ignored.",
        "'sampler' is not a parameter and was ignored.",
        "partial_images is ignored without stream.",
        "input_fidelity is ignored; use strength instead.",
        "Tools of the type 'web_search' are never called.",
    ]
    assert response.output_text.endswith(response.warnings[-1])


def test_a_stream_has_partial_images_and_its_events_are_those_of_the_sdk_in_their_order(client):
    stream = ask(client, "a streamed circle", SMALL | {"partial_images": 2, "seed": 7}, stream=True)
    events = list(stream)
    call = "response.image_generation_call"
    assert [event.type for event in events[:5]] == [
        "response.created", "response.in_progress", "response.output_item.added", f"{call}.in_progress",
        f"{call}.generating",
    ]  # fmt: skip
    partial = [event for event in events if event.type == f"{call}.partial_image"]
    assert [event.partial_image_index for event in partial] == [0, 1]
    assert {opened(event.partial_image_b64).size for event in partial} == {(64, 64)}
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    final = events[-1].response
    assert final.output_text == "The image is 64x64, its seed is 7."
    assert is_edit(ask(client, "make it blue", TOOL, previous_response_id=final.id), 7)


def test_the_sdks_helper_for_streams_follows_an_image_and_a_sentence(client):
    for tool, text in ((SMALL | {"seed": 7}, "The image is 64x64, its seed is 7."), (None, SENTENCE)):
        with client.responses.stream(model="gpt-5", input="a", tools=[tool] if tool else openai.omit) as stream:
            said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
            assert said == stream.get_final_response().output_text == text


def test_a_failure_is_the_sdks_error_and_in_a_stream_a_failed_response(client):
    with pytest.raises(openai.InternalServerError, match="told to fail"):
        ask(client, "[fail]")
    [*_, last] = ask(client, "[fail] streamed", stream=True)
    assert (last.type, last.response.status, last.response.error.code) == ("response.failed", "failed", "server_error")
    assert "told to fail" in last.response.error.message


def test_every_documented_parameter_is_known_ignored_or_refused_by_name():
    documented = get_type_hints(ResponseCreateParamsBase).keys()
    assert len(documented) > 25
    assert documented - ResponsesBody.model_fields.keys() <= IGNORED | REFUSED.keys() | {"background"}
    assert get_type_hints(ImageGeneration).keys() - ImageTool.model_fields.keys() == {
        "complexity", "frame_count", "frame_duration_ms", "svg",
    }  # fmt: skip
    body = checked({"input": "x", "background": True})
    assert warnings_of(body, None) == ["background is ignored: the response comes when its image is finished."]


def test_responses_have_the_fields_of_pythons_types(client):
    response = ask(client, "every field")
    Response.model_validate_json(response.to_json(), strict=True)
    assert response.to_dict()["usage"]["input_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}
