"""SAFETY_CHECKER from the setting to the log, and to the answers of every dialect that can say what it found."""

import json

import openai
import pytest
from websockets.sync.client import connect

from tests.support.images import pixels
from tests.support.server import SMALL_IMAGES
from tests.support.tiny_safety_checker import SEVERE, save_checker

SMALL = {"size": "64x64", "num_inference_steps": 2, "add_overlay": False}
SENTENCE = "Found unsafe and sent as black (SAFETY_CHECKER): image 1."


@pytest.fixture(scope="module")
def server(servers, tmp_path_factory):
    checker = save_checker(tmp_path_factory.mktemp("checker"), SEVERE)
    return servers(engine="real", SAFETY_CHECKER=str(checker), LOG_FORMAT="json", **SMALL_IMAGES)


def is_black(received):
    return not pixels(received).any()


def test_the_answer_and_the_log_tell_what_was_found(server):
    answer = server.generate("a red circle", save_to_file=True, **SMALL).json()
    assert answer["nsfw_detected"] is True
    assert SENTENCE in answer["warnings"]
    assert is_black(server.get(answer["url"].removeprefix(server.url)).content)
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    told = [
        line["nsfw_detected"] for line in lines if line.get("request_id") == answer["request_id"] and "seed" in line
    ]
    assert told == [True]


def test_bytes_are_black_and_their_header_says_why(server):
    answer = server.generate("a red circle", **SMALL)
    assert is_black(answer.content)
    assert SENTENCE in answer.headers["X-Warnings"]


def test_openais_sdk_and_the_websocket_are_told_too(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        answer = client.images.generate(prompt="a red circle", size="64x64", extra_body={"num_inference_steps": 2})
    assert answer.nsfw_detected is True
    assert is_black(answer.data[0].b64_json)
    with connect(f"ws://127.0.0.1:{server.port}/ws/generate", max_size=None) as connection:
        connection.send(json.dumps({"prompt": "a red circle", "previews": 1, "cache": False, **SMALL}))
        frames = [json.loads(connection.recv(timeout=30))]
        while frames[-1]["type"] not in ("result", "error"):
            frames.append(json.loads(connection.recv(timeout=30)))
    assert "preview" not in [frame["type"] for frame in frames], "nobody has looked at it yet"
    assert frames[-1]["data"]["nsfw_detected"] is True


def test_without_a_checker_nobody_has_looked(demo_server):
    answer = demo_server.generate("a red circle", save_to_file=True, **SMALL).json()
    assert answer["nsfw_detected"] is None
