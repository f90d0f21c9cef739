"""Assistants generate and edit images over the Model Context Protocol, with the official SDK's own client."""

import base64
import io
import json
import socket
from typing import Any

import pytest
from mcp.client.client import Client

from imageserver.cli.mcp import Relay
from tests.support.images import coded, one_colour, opened, pixels
from tests.support.mcp_client import called, talk, talk_over_stdio

SMALL = {"size": "64x64", "seed": 7}


def post(server: Any, message: Any, **headers: str) -> Any:
    return server.ask("POST", "/mcp", json=message, headers=headers)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_finds_the_tools_with_their_arguments(fake_server, mode):
    tools = talk(fake_server, lambda client: client.list_tools(), mode=mode).tools
    assert [tool.name for tool in tools] == ["generate_image", "edit_image", "list_models"]
    assert tools[0].input_schema["required"] == ["prompt"]
    assert set(tools[1].input_schema["required"]) == {"prompt", "image"}


def test_an_image_comes_inline_with_its_address_and_is_edited_by_it(fake_server):
    result = called(fake_server, "generate_image", prompt="a red circle", n=2, **SMALL)
    first, second, text = result.content
    assert (first.type, second.type, first.mime_type) == ("image", "image", "image/png")
    assert opened(first.data).size == (64, 64)
    [address, _] = [image["url"] for image in result.structured_content["images"]]
    assert text.text.splitlines()[0] == f"64x64, seed 7 {address}"
    assert fake_server.get(address.removeprefix(fake_server.url)).content == base64.b64decode(first.data)
    edited = called(fake_server, "edit_image", prompt="make it blue", image=address)
    assert (pixels(edited.content[0].data) == 7).all()


def test_links_come_without_the_bytes(fake_server):
    link, text = called(fake_server, "generate_image", prompt="a", as_link=True, output_format="webp", **SMALL).content
    assert (link.type, link.mime_type) == ("resource_link", "image/webp")
    assert opened(fake_server.get(str(link.uri).removeprefix(fake_server.url))).format == "WEBP"
    assert str(link.uri) in text.text


def test_several_images_and_a_mask_may_be_sent_as_base64(fake_server):
    image, mask = coded(one_colour(96, 64)), coded(one_colour(96, 64, "white"))
    result = called(fake_server, "edit_image", prompt="x", image=[image, f"data:image/png;base64,{image}"], mask=mask)
    assert not result.is_error
    assert "side by side" in result.structured_content["warnings"][0]


def test_the_models_are_listed(fake_server):
    result = called(fake_server, "list_models")
    assert result.content[0].text.splitlines()[0] == "fake (default)"
    assert result.structured_content["models"][0]["edits"]


@pytest.mark.parametrize(
    ("tool", "arguments", "sentence"),
    [
        ("generate_image", {"prompt": "[fail]"}, "told to fail"),
        ("generate_image", {"prompt": ""}, "Prompt is required"),
        ("generate_image", {"prompt": "x", "size": "huge"}, "size"),
        ("generate_image", {"prompt": "x", "style": "vivid"}, "'style' is not a parameter; known are prompt"),
        ("generate_image", {"prompt": "x", "model": "dall-e-3"}, "this server serves fake"),
        ("edit_image", {"prompt": "x", "image": "!"}, "image is neither base64 nor"),
        ("edit_image", {"prompt": "x", "image": []}, "0 images"),
    ],
)
def test_a_wrong_call_is_a_result_whose_sentence_the_assistant_can_read(fake_server, tool, arguments, sentence):
    result = called(fake_server, tool, **arguments)
    assert result.is_error
    assert sentence in result.content[0].text


def test_progress_arrives_while_the_image_is_generated(fake_server):
    steps: list[tuple[float, float | None]] = []

    async def seen(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total))

    arguments = {"prompt": "in steps", "num_inference_steps": 4, **SMALL}
    result = talk(fake_server, lambda client: client.call_tool("generate_image", arguments, progress_callback=seen))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert result.content[0].type == "image"


def test_an_image_that_is_too_large_for_an_event_is_a_link(fake_server):
    async def seen(*_: Any) -> None:
        pass

    arguments = {"prompt": "[noise]", "size": "768x512"}
    link, text = talk(
        fake_server, lambda client: client.call_tool("generate_image", arguments, progress_callback=seen)
    ).content
    assert link.type == "resource_link"
    assert "too large" in text.text
    # An answer in one piece has no such limit.
    assert called(fake_server, "generate_image", **arguments).content[0].type == "image"


def test_the_command_line_serves_the_same_over_stdio(fake_server):
    steps: list[float] = []

    async def seen(progress: float, *_: Any) -> None:
        steps.append(progress)

    async def work(client: Client) -> tuple[Any, Any, Any]:
        tools = await client.list_tools()
        image = await client.call_tool(
            "generate_image", {"prompt": "[noise]", "size": "768x512"}, progress_callback=seen
        )
        return tools, image, await client.call_tool("edit_image", {"prompt": "x", "image": "!"})

    tools, image, refused = talk_over_stdio(fake_server, work)
    assert len(tools.tools) == 3
    assert (image.content[0].type, steps[-1]) == ("image", 20)
    assert refused.is_error


def test_a_page_of_another_origin_is_refused(fake_server):
    answer = post(fake_server, {"jsonrpc": "2.0", "id": 1, "method": "ping"}, Origin="http://evil.example")
    assert (answer.status_code, answer.json()["error"]["data"]["code"]) == (403, "foreign_origin")


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        ({"jsonrpc": "2.0", "id": 1, "method": "resources/list"}, 200, -32601),
        ({"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": {"name": "unknown"}}, 200, -32602),
        ({"jsonrpc": "1.0", "id": 1, "method": "ping"}, 422, -32600),
        ([{"jsonrpc": "2.0", "id": 1, "method": "ping"}], 400, -32600),
    ],
)
def test_wrong_messages_are_answered_in_the_protocols_own_errors(fake_server, message, status, code):
    answer = post(fake_server, message)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_notification_is_accepted_and_there_is_no_stream_from_the_server(fake_server):
    answer = post(fake_server, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (answer.status_code, answer.content) == (202, b"")
    assert fake_server.get("/mcp").status_code == 405


def test_a_version_that_is_not_spoken_is_named_with_those_that_are(fake_server):
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    answer = post(fake_server, message, **{"MCP-Protocol-Version": "1999-01-01"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32022)
    assert "2025-11-25" in answer.json()["error"]["data"]["supported"]


@pytest.mark.parametrize(
    ("asked", "offered"), [("2025-06-18", "2025-06-18"), ("2025-03-26", "2025-11-25"), ("2099-01-01", "2025-11-25")]
)
def test_a_version_is_offered_only_if_all_of_it_is_served(fake_server, asked, offered):
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": asked}}
    assert post(fake_server, message).json()["result"]["protocolVersion"] == offered


def test_an_assistant_on_stdio_cancels_its_call_by_a_notification(quiet_server):
    marker = "cancelled over stdio"
    call = {"name": "generate_image", "arguments": {"prompt": f"[step=0.1] {marker}", "num_inference_steps": 100}}

    def lines():
        yield json.dumps({"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": call})
        quiet_server.wait_for(lambda: quiet_server.job_with(marker)["state"] == "processing", "the job")
        yield json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "a"}})

    written = io.StringIO()
    Relay(quiet_server.url, "", written).follow(lines())
    assert quiet_server.job_with(marker)["state"] == "cancelled"
    assert json.loads(written.getvalue())["result"]["isError"]


@pytest.mark.parametrize(("accept", "kind"), [(None, "application/json"), ("text/event-stream", "text/event-stream")])
def test_a_call_is_answered_in_the_kind_that_its_client_accepts(fake_server, accept, kind):
    call = {"name": "generate_image", "arguments": {"prompt": "a", "size": "64x64"}}
    answer = post(fake_server, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}, Accept=accept)
    assert answer.headers["Content-Type"].startswith(kind)


def test_a_client_that_hangs_up_cancels_its_call(quiet_server):
    marker = "gone from mcp"
    call = {"name": "generate_image", "arguments": {"prompt": f"[step=0.2] {marker}", "num_inference_steps": 100}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
    with socket.create_connection(("127.0.0.1", quiet_server.port), timeout=10) as connection:
        head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body).encode())
        quiet_server.wait_for(lambda: quiet_server.job_with(marker)["state"] == "processing", "the job")
    quiet_server.wait_for(lambda: quiet_server.job_with(marker)["state"] == "cancelled", "the end of the job")
