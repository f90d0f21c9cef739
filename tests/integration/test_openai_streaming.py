"""The OpenAI SDK's streams: true partial images, the finished image, and nothing that its user could stumble over."""

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
import requests

from tests.support.images import opened, pixels
from tests.support.own_loop import run_in_own_loop
from tests.support.server import Server, in_background

PARTIAL, COMPLETED = "image_generation.partial_image", "image_generation.completed"


@pytest.fixture
def client(fake_server):
    with openai.OpenAI(base_url=fake_server.url + "/v1", api_key="unused", max_retries=0) as client:
        yield client


def wire(server: Server, **body: Any) -> list[str]:
    """Return what a stream sends, block by block."""
    answer = requests.post(
        f"{server.url}/v1/images/generations",
        json={"stream": True, **body},
        timeout=60,
        headers={"Connection": "close"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert int(answer.headers["X-Request-Id"]) > 0
    return answer.text.removesuffix("\n\n").split("\n\n")


def test_a_stream_shows_as_many_partial_images_as_asked_for_and_then_the_image(client):
    seen = list(client.images.generate(prompt="streamed words", stream=True, partial_images=2, size="320x256"))
    assert [event.type for event in seen] == [PARTIAL, PARTIAL, COMPLETED]
    assert [type(event).__name__ for event in seen] == ["ImageGenPartialImageEvent"] * 2 + ["ImageGenCompletedEvent"]
    assert [event.partial_image_index for event in seen[:2]] == [0, 1]
    for event in seen:
        assert opened(event.b64_json).size == (320, 256)
        assert opened(event.b64_json).format == "PNG"
        assert (event.size, event.output_format, event.background) == ("320x256", "png", "opaque")
        assert event.quality == "high"
        assert event.created_at > 1_700_000_000
        assert "image_index" not in event.model_extra
    # The fake engine's previews and images are of the seed's colour.
    colour = seen[-1].seed % 256
    assert all((pixels(event.b64_json) == colour).all() for event in seen)


def test_the_finished_image_of_a_stream_says_what_it_took(client):
    *_, last = client.images.generate(prompt="three short words", stream=True)
    assert last.usage.model_dump() == {
        "input_tokens": 3,
        "input_tokens_details": {"text_tokens": 3, "image_tokens": 0},
        "output_tokens": 100,
        "output_tokens_details": {"image_tokens": 100, "text_tokens": 0},
        "prompt_tokens": 3,
        "completion_tokens": 100,
        "total_tokens": 103,
    }


def test_the_async_client_sees_the_same(fake_server):
    async def generate() -> list[str]:
        async with openai.AsyncOpenAI(base_url=fake_server.url + "/v1", api_key="unused") as client:
            stream = await client.images.generate(prompt="async", stream=True, partial_images=3, size="64x64")
            return [event.type async for event in stream if opened(event.b64_json).size == (64, 64)]

    assert run_in_own_loop(generate()) == [PARTIAL] * 3 + [COMPLETED]


def test_a_stream_without_partial_images_is_the_image_alone(client):
    [event] = client.images.generate(prompt="at once", stream=True, size="64x64")
    assert event.type == COMPLETED


def test_every_one_of_several_images_has_its_own_partial_images(client):
    stream = client.images.generate(
        prompt="two words",
        stream=True,
        partial_images=2,
        n=2,
        size="64x64",
        output_format="jpeg",
        extra_body={"seed": 9},
    )
    seen = list(stream)
    partial = [(event.image_index, event.partial_image_index) for event in seen if event.type == PARTIAL]
    assert sorted(partial) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    completed = [event for event in seen if event.type == COMPLETED]
    assert [(event.image_index, event.seed) for event in completed] == [(0, 9), (1, 10)]
    assert {opened(event.b64_json).format for event in seen} == {"JPEG"}
    # What was read counts once, so that a client may add up what the events say.
    assert sum(event.usage.input_tokens for event in completed) == 2
    assert sum(event.usage.output_tokens for event in completed) == 200


def test_on_the_wire_progress_is_comments_and_every_event_is_one_that_the_sdk_knows(fake_server):
    blocks = wire(fake_server, prompt="on the wire", partial_images=1, num_inference_steps=4)
    assert blocks[-1] == "data: [DONE]"
    comments = [block for block in blocks if block.startswith(": ")]
    assert [block for block in comments if "step" in block] == [f": step {step} of 4" for step in (1, 2, 3, 4)]
    events = [block.split("\n") for block in blocks[:-1] if block not in comments]
    assert [lines[0] for lines in events] == [f"event: {PARTIAL}", f"event: {COMPLETED}"]
    for name, data in events:
        assert json.loads(data.removeprefix("data: "))["type"] == name.removeprefix("event: ")


def test_an_image_from_the_cache_needs_no_partial_images(client):
    fields = {"prompt": "streamed twice", "stream": True, "partial_images": 2, "extra_body": {"seed": 4}}
    assert len(list(client.images.generate(**fields))) == 3
    [event] = client.images.generate(**fields)
    assert (event.type, event.seed) == (COMPLETED, 4)


def test_a_url_cannot_be_streamed_and_the_client_is_told(client):
    [event] = client.images.generate(prompt="url", stream=True, response_format="url", size="64x64")
    assert event.warnings == ["response_format is ignored in a stream: images are sent as b64_json."]
    assert opened(event.b64_json).size == (64, 64)


def test_what_fails_in_the_middle_of_a_stream_raises_the_sdks_api_error(client, fake_server):
    with pytest.raises(openai.APIError, match="told to fail") as raised:
        list(client.images.generate(prompt="[fail]", stream=True))
    assert (raised.value.type, raised.value.code) == ("server_error", "generation_failed")
    last = wire(fake_server, prompt="[oom]")[-1].split("\n")
    assert last[0] == "event: error"
    body = json.loads(last[1].removeprefix("data: "))
    assert (body["type"], body["error"]["code"]) == ("error", "out_of_memory")


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"prompt": ""}, openai.BadRequestError, "prompt"),
        ({"prompt": "x", "partial_images": 4}, openai.BadRequestError, "partial_images"),
        ({"prompt": "x", "extra_body": {"stream_format": "film"}}, openai.BadRequestError, "stream_format"),
        ({"prompt": "x", "extra_body": {"stream_format": 5}}, openai.BadRequestError, "stream_format"),
    ],
)
def test_what_is_wrong_before_a_stream_begins_has_its_own_status(client, fields, error, param):
    with pytest.raises(error) as raised:
        client.images.generate(stream=True, **fields)
    assert raised.value.param == param
    assert raised.value.request_id


def test_partial_images_without_a_stream_are_warned_about(client):
    answer = client.images.generate(prompt="no stream", partial_images=2, size="64x64")
    assert answer.warnings == ["partial_images is ignored without stream."]


def test_a_full_server_refuses_a_stream_with_the_time_to_come_back(own_servers):
    server = own_servers(MAX_QUEUE="1")
    busy = server.start_generating("[step=0.05]", num_inference_steps=40)
    server.wait_until_active()
    with openai.OpenAI(base_url=server.url + "/v1", api_key="unused", max_retries=0) as client:
        with pytest.raises(openai.RateLimitError) as raised:
            client.images.generate(prompt="too late", stream=True)
        assert raised.value.code == "queue_full"
        assert int(raised.value.response.headers["Retry-After"]) >= 1
    assert busy.result(30).ok


def test_the_clients_patience_is_for_the_next_bytes_and_not_for_the_whole_stream(own_server):
    with openai.OpenAI(base_url=own_server.url + "/v1", api_key="unused", max_retries=0, timeout=1.0) as client:
        # The first teaches the server what an image takes; it could refuse the second for that.
        for _ in range(2):
            [event] = client.images.generate(
                prompt="[step=0.1] slow", stream=True, size="64x64", extra_body={"num_inference_steps": 20}
            )
            assert event.type == COMPLETED


@contextlib.contextmanager
def raw_stream(server: Server, prompt: str) -> Iterator[socket.socket]:
    body = json.dumps({"prompt": prompt, "stream": True, "num_inference_steps": 100}).encode()
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(head.encode() + body)
        yield connection


def test_who_hangs_up_in_the_middle_of_a_stream_stops_it_and_no_neighbour(quiet_server):
    with raw_stream(quiet_server, "[step=0.05] left alone") as connection:
        assert b"200 OK" in connection.recv(4096)
        quiet_server.wait_for(lambda: quiet_server.job_with("left alone")["step"] >= 2, "its second step")
        neighbour = in_background(quiet_server.generate, "a streams neighbour", seed=5, add_overlay=False)
        quiet_server.wait_for(lambda: quiet_server.job_with("streams neighbour")["state"] == "queued", "the neighbour")
    quiet_server.wait_for(lambda: quiet_server.job_with("left alone")["state"] == "cancelled", "its cancellation")
    answer = neighbour.result(30)
    assert (answer.status_code, answer.headers["X-Seed"]) == (200, "5")
    quiet_server.wait_until_idle()


def test_who_closes_the_sdks_stream_stops_it_too(quiet_server):
    with openai.OpenAI(base_url=quiet_server.url + "/v1", api_key="unused") as client:
        stream = client.images.generate(
            prompt="[step=0.05] closed early", stream=True, partial_images=3, extra_body={"num_inference_steps": 100}
        )
        assert next(iter(stream)).type == PARTIAL
        stream.close()
        quiet_server.wait_for(lambda: quiet_server.job_with("closed early")["state"] == "cancelled", "its end")


def test_a_stopping_server_says_so_in_the_stream(own_servers):
    server = own_servers(GRACEFUL_TIMEOUT="2")
    with openai.OpenAI(base_url=server.url + "/v1", api_key="unused", max_retries=0) as client:
        stream = client.images.generate(
            prompt="[step=0.2] endless", stream=True, partial_images=3, extra_body={"num_inference_steps": 150}
        )
        server.wait_until_active()
        stopping = in_background(server.stop)
        with pytest.raises(openai.APIError, match="stopping") as raised:
            list(stream)
        assert raised.value.code == "draining"
    assert stopping.result(30) == 0


def test_the_last_partial_image_of_the_demo_model_resembles_the_image_more_than_the_first(demo_server):
    with openai.OpenAI(base_url=demo_server.url + "/v1", api_key="unused", max_retries=0) as client:
        *partial, completed = client.images.generate(
            prompt="a red circle on a blue background", stream=True, partial_images=3, size="512x512",
            extra_body={"seed": 11, "cache": False},
        )  # fmt: skip
    assert [event.type for event in partial] == [PARTIAL] * 3
    image = pixels(completed.b64_json)
    distances = [np.abs(pixels(event.b64_json) - image).mean() for event in partial]
    # An image of another seed and prompt is the measure of what does not resemble at all.
    assert distances[-1] < distances[0]
    assert distances[-1] < 25
    assert completed.usage.output_tokens == 64
    assert 5 <= completed.usage.input_tokens <= 12


def test_partial_images_of_a_size_that_is_cropped_show_the_same_part_as_the_image(demo_server):
    with openai.OpenAI(base_url=demo_server.url + "/v1", api_key="unused", max_retries=0) as client:
        *_, last, completed = client.images.generate(
            prompt="a red circle on a blue background", stream=True, partial_images=3, size="520x328",
            extra_body={"seed": 11, "cache": False},
        )  # fmt: skip
    assert opened(last.b64_json).size == opened(completed.b64_json).size == (520, 328)
    preview, image = pixels(last.b64_json), pixels(completed.b64_json)
    aligned = np.abs(preview - image).mean()
    shifted = np.abs(np.roll(preview, 48, axis=1) - image).mean()
    assert aligned < shifted
