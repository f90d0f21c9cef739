"""In conversations and over MCP, too, a key finds its own images only, and whichever worker is asked finds them."""

from typing import Any

import openai
import pytest
import requests
from mcp import MCPError

from tests.support.images import pixels
from tests.support.mcp_client import called, talk

ANN, BOB, CAT = "ann-has-a-long-key", "bob-has-a-long-key", "cat-has-a-long-key"
SMALL = {"size": "64x64", "seed": 7}


@pytest.fixture(scope="module")
def server(servers):
    return servers(API_KEYS=f"ann:{ANN},bob:{BOB},cat:{CAT} rpm=2", WORKERS="2")


def respond(server: Any, key: str, **fields: Any) -> Any:
    # A connection of its own, which any worker may accept.
    with openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0) as client:
        return client.responses.create(
            model="gpt-5", input="make it blue", tools=[{"type": "image_generation"} | SMALL], **fields
        )


def test_another_worker_finds_the_image_of_a_response_and_another_key_does_not(server):
    first = respond(server, ANN)
    calls = [respond(server, ANN, previous_response_id=first.id).output[0] for _ in range(8)]
    assert {call.action for call in calls} == {"edit"}
    assert all((pixels(call.result) == 7).all() for call in calls)
    with pytest.raises(openai.BadRequestError, match="not kept"):
        respond(server, BOB, previous_response_id=first.id)
    unkept = respond(server, ANN, store=False)
    with pytest.raises(openai.BadRequestError, match="not kept"):
        respond(server, ANN, previous_response_id=unkept.id)


def test_a_saved_image_in_a_chat_is_the_source_for_whoever_has_its_signed_address(server):
    def chat(key: str, *messages: Any) -> Any:
        with openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0) as client:
            extra = {"modalities": ["image"], **SMALL}
            return client.chat.completions.create(model="x", messages=list(messages), extra_body=extra)

    question = {"role": "user", "content": "a red circle"}
    link = chat(ANN, question).choices[0].message.content
    assert chat(ANN, question, {"role": "assistant", "content": link}, question).warnings == []
    unsigned = link.partition("?")[0]
    [warning] = chat(BOB, question, {"role": "assistant", "content": unsigned + ")"}, question).warnings
    assert "not valid" in warning
    part = {"type": "image_url", "image_url": {"url": unsigned.partition("(")[2]}}
    with pytest.raises(openai.PermissionDeniedError, match="signature"):
        chat(BOB, {"role": "user", "content": [{"type": "text", "text": "make it blue"}, part]})


def test_assistants_need_a_key_and_read_an_image_by_its_signed_address_only(server):
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    answer = requests.post(server.url + "/mcp", json=ping, headers={"Connection": "close"}, timeout=10)
    assert (answer.status_code, answer.json()["error"]["data"]["code"]) == (401, "unauthorized")
    with pytest.RaisesGroup(pytest.RaisesExc(MCPError, match="requires an API key"), flatten_subgroups=True):
        talk(server, lambda client: client.list_tools())
    result = called(server, "generate_image", ANN, prompt="a red circle", **SMALL)
    address = result.structured_content["images"][0]["url"]
    assert not called(server, "edit_image", BOB, prompt="make it blue", image=address).is_error
    guessed = called(server, "edit_image", BOB, prompt="make it blue", image=address.partition("?")[0])
    assert "signature" in guessed.content[0].text


def test_calls_for_images_count_as_requests_and_other_messages_of_an_assistant_do_not(server):
    for _ in range(3):
        assert not called(server, "list_models", CAT).is_error
    for refused in (False, False, True):
        result = called(server, "generate_image", CAT, prompt="many", **SMALL)
        assert result.is_error == refused
    assert "Try again in" in result.content[0].text
