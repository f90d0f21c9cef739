"""One socket tells a generation's whole life, with the real client libraries, on gunicorn and on `serve`."""

import asyncio
import base64
import json
import signal
import time
from typing import Any

import numpy as np
import pytest
import requests
import websocket
import websockets
from PIL import Image
from websockets.sync.client import connect

from tests.support.images import coded, noise, pixels
from tests.support.own_loop import run_in_own_loop
from tests.support.server import SERVE, Server


def address(server: Server) -> str:
    return f"ws://127.0.0.1:{server.port}/ws/generate"


def open_socket(server: Server, **options: Any) -> Any:
    return connect(address(server), max_size=None, **options)


def ask(connection: Any, prompt: str = "a circle", **fields: Any) -> None:
    connection.send(json.dumps({"prompt": prompt, "size": "64x64", "num_inference_steps": 5, "cache": False} | fields))


def frames(connection: Any) -> list[dict[str, Any]]:
    """Return the frames until a result or an error."""
    seen = []
    while True:
        seen.append(json.loads(connection.recv(timeout=30)))
        if seen[-1]["type"] in ("result", "error"):
            return seen


def check_whole_life(server: Server) -> None:
    with open_socket(server) as connection:
        ask(connection, "a whole life", seed=7, previews=2, num_inference_steps=6)
        seen = frames(connection)
    kinds = " ".join(frame["type"] for frame in seen)
    assert kinds == "queued progress progress preview progress progress preview progress progress result"
    progress = [frame for frame in seen if frame["type"] == "progress"]
    assert [frame["step"] for frame in progress] == [1, 2, 3, 4, 5, 6]
    assert progress[2]["progress"] == 0.5
    result = seen[-1]["data"]
    assert (result["seed"], result["width"], result["output_format"]) == (7, 64, "png")
    assert pixels(result["image_b64"]).shape == (64, 64, 3)
    number = result["request_id"]
    assert {frame.get("request_id", number) for frame in seen} == {number}
    job = server.get(f"/v1/jobs/{number}").json()
    assert (job["dialect"], job["state"]) == ("websocket", "completed")


def test_the_whole_life_of_a_generation(fake_server):
    check_whole_life(fake_server)


def test_on_gevents_own_server_too(own_servers):
    server = own_servers(command=SERVE)
    check_whole_life(server)
    check_whole_life(server)
    assert server.generate("after a socket").status_code == 200


def test_a_connection_takes_one_request_after_the_other_and_large_images(fake_server):
    with open_socket(fake_server) as connection:
        for seed in (1, 2):
            ask(connection, f"noise {seed}", seed=seed, size="1024x1024", n=3, output_format="png")
            result = frames(connection)[-1]["data"]
            assert result["seeds"] == [seed, seed + 1, seed + 2]
            assert [pixels(text).shape for text in result["images_b64"]] == [(1024, 1024, 3)] * 3


def test_frames_of_megabytes_arrive_whole(demo_server):
    sent, black = coded(noise(0, 1024, 1024)), coded(Image.new("L", (1024, 1024), 0))
    with open_socket(demo_server) as connection:
        # What the mask keeps comes back to the bit, so the answer is as large as the noise.
        ask(connection, image=sent, mask=black, num_inference_steps=2,
            size="1024x1024", add_overlay=False)  # fmt: skip
        answer = frames(connection)[-1]["data"]["image_b64"]
    assert len(answer) > 1_000_000
    assert (pixels(answer) == pixels(sent)).all()


def test_previews_become_the_image(demo_server):
    with open_socket(demo_server) as connection:
        ask(connection, "a red circle on a blue background", size="256x256", num_inference_steps=12, previews=10,
            add_overlay=False)  # fmt: skip
        seen = frames(connection)
    final = pixels(seen[-1]["data"]["image_b64"])
    errors = [np.abs(pixels(frame["image_b64"]) - final).mean() for frame in seen if frame["type"] == "preview"]
    assert len(errors) == 10
    assert errors[0] > errors[-1]
    assert errors[-1] < 25


def test_cancel_stops_it_and_the_connection_goes_on(quiet_server):
    with open_socket(quiet_server) as connection:
        ask(connection, "[step=0.1] cancelled", num_inference_steps=100)
        while json.loads(connection.recv(timeout=10))["type"] != "progress":
            pass
        connection.send(json.dumps({"type": "cancel"}))
        assert frames(connection)[-1]["code"] == "cancelled"
        quiet_server.wait_until_idle()
        ask(connection, "afterwards")
        assert frames(connection)[-1]["type"] == "result"


@pytest.mark.fault(7)
def test_a_dropped_socket_cancels_and_harms_no_neighbour(quiet_server):
    neighbour = quiet_server.start_generating("[step=0.02] neighbour", num_inference_steps=10)
    connection = websocket.create_connection(address(quiet_server), timeout=10)
    connection.send(json.dumps({"prompt": "[step=0.1] dropped", "num_inference_steps": 100}))
    while json.loads(connection.recv())["type"] != "progress":
        pass
    number = next(job["id"] for job in quiet_server.get("/v1/jobs").json()["data"] if "dropped" in job["prompt"])
    connection.sock.close()
    quiet_server.wait_for(lambda: quiet_server.get(f"/v1/jobs/{number}").json()["state"] == "cancelled", "the end")
    assert neighbour.result(20).status_code == 200


def test_a_second_request_at_the_same_time_is_refused_and_harms_nothing(quiet_server):
    with open_socket(quiet_server) as connection:
        ask(connection, "[step=0.05] first", seed=3)
        ask(connection, "second")
        first_end = frames(connection)[-1]
        assert (first_end["type"], first_end["code"]) == ("error", "busy")
        assert frames(connection)[-1]["data"]["seed"] == 3


@pytest.mark.parametrize(
    ("sent", "code", "param"),
    [
        ("no json", "bad_request", None),
        ("[1]", "bad_request", None),
        (b"\x00\x01", "bad_request", None),
        ("{}", "bad_request", "prompt"),
        ('{"prompt": "x", "colour": "red"}', "invalid_parameter", "colour"),
        ('{"prompt": "x", "type": "dance"}', "invalid_parameter", "type"),
        ('{"prompt": "x", "n": 0}', "invalid_parameter", "n"),
        ('{"prompt": "x", "previews": -1}', "invalid_parameter", "previews"),
        ('{"prompt": "x", "image": "?"}', "invalid_parameter", "image"),
        ('{"prompt": "x", "mask": "eA=="}', "invalid_parameter", "mask"),
    ],
)
def test_wrong_frames_are_answered_by_name_and_the_connection_goes_on(fake_server, sent, code, param):
    with open_socket(fake_server) as connection:
        connection.send(sent)
        [error] = frames(connection)
        assert (error["code"], error["param"]) == (code, param)
        ask(connection, "afterwards")
        assert frames(connection)[-1]["type"] == "result"


def test_a_frame_over_the_limit_ends_the_connection(own_servers):
    server = own_servers(MAX_BODY_MB="0.1")
    with open_socket(server) as connection:
        ask(connection, "x" * 200_000)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            connection.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_a_failed_generation_is_an_error_frame(fake_server):
    with open_socket(fake_server) as connection:
        ask(connection, "[fail]")
        assert frames(connection)[-1]["code"] == "generation_failed"


def test_a_saved_image_has_an_address(fake_server):
    with open_socket(fake_server) as connection:
        ask(connection, save_to_file=True)
        data = frames(connection)[-1]["data"]
    fetched = requests.get(data["url"], timeout=5, headers={"Connection": "close"})
    assert fetched.content == base64.b64decode(data["image_b64"])


def test_a_plain_request_is_refused_clearly(fake_server):
    answer = fake_server.get("/ws/generate")
    assert answer.status_code in (400, 404, 426)
    assert answer.json()["error"]


def test_the_websocket_client_library_works_too(fake_server):
    connection = websocket.create_connection(address(fake_server), timeout=20)
    connection.send(json.dumps({"prompt": "x", "size": "64x64", "num_inference_steps": 2}))
    while (frame := json.loads(connection.recv()))["type"] != "result":
        pass
    assert pixels(frame["data"]["image_b64"]).shape == (64, 64, 3)
    connection.close()


def test_fifty_sockets_at_once(fake_server):
    async def one(number: int) -> int:
        async with websockets.connect(address(fake_server), max_size=None) as connection:
            body = {"prompt": f"crowd {number}", "size": "64x64", "num_inference_steps": 2, "seed": number}
            await connection.send(json.dumps(body))
            while True:
                frame = json.loads(await asyncio.wait_for(connection.recv(), 60))
                if frame["type"] == "result":
                    return int(frame["data"]["seed"])

    async def crowd() -> list[int]:
        return await asyncio.gather(*(one(number) for number in range(50)))

    assert run_in_own_loop(crowd()) == list(range(50))


def test_a_stopping_server_finishes_what_runs_and_closes_what_waits(own_server):
    with open_socket(own_server) as idle, open_socket(own_server) as busy:
        ask(busy, "[step=0.1] finished", num_inference_steps=10)
        while json.loads(busy.recv(timeout=10))["type"] != "progress":
            pass
        began = time.monotonic()
        own_server.process.send_signal(signal.SIGTERM)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            idle.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert frames(busy)[-1]["type"] == "result"
    assert own_server.process.wait(20) == 0
    assert time.monotonic() - began < 15
