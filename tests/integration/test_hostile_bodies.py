"""A body that is expensive to read keeps nobody else waiting, and large bodies that mean something are read."""

import base64
import json
import time
from urllib.parse import urlencode

import pytest
import requests
from websockets.sync.client import connect

from benchmarks.bodies import send
from benchmarks.hostile_bodies import HOSTILE_BODIES
from tests.support.images import file_of, noise
from tests.support.server import in_background

SIZE = 12 * 2**20
# One for each way to a parser.
WAYS = ("many lists", "empty pairs", "one long field name", "JSON in a field", "many lists in a frame", "no boundary")


@pytest.mark.fault(38)
@pytest.mark.alone
@pytest.mark.parametrize("name", WAYS)
def test_a_hostile_body_is_refused_and_others_wait_a_fraction_of_the_time_that_python_takes_to_parse_it(
    fake_server, name
):
    body = next(body for body in HOSTILE_BODIES if body.name == name)
    data, yardstick = body.build(SIZE), b"[" + b"[]," * (SIZE // 3) + b"[]]"
    began = time.perf_counter()
    json.loads(yardstick)
    parsing = time.perf_counter() - began
    sending, waits = in_background(send, fake_server.port, body, data), []
    while not sending.done():
        began = time.perf_counter()
        assert requests.get(f"{fake_server.url}/livez", timeout=60).ok
        waits.append(time.perf_counter() - began)
    assert sending.result() in ("400", "bad_request")
    assert max(waits) < parsing / 2


def test_an_image_of_fifteen_mebibytes_is_read_in_json_in_both_forms_and_in_a_frame(fake_server):
    data = file_of(noise(width=2300, height=2300), "PNG", compress_level=0)
    assert len(data) > 15 * 2**20
    text, fields = base64.b64encode(data).decode(), {"prompt": "a cat", "size": "64x64", "cache": False}
    assert fake_server.post(fields | {"image": text}).ok
    urlencoded = urlencode({"prompt": "a cat", "size": "64x64", "image": text})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert fake_server.post(urlencoded.encode(), headers=headers).ok
    form = {"prompt": "a cat", "size": "64x64"}
    upload = fake_server.ask("POST", "/generate", data=form, files={"image": ("a.png", data)}, timeout=60)
    assert upload.ok
    with connect(f"ws://127.0.0.1:{fake_server.port}/ws/generate", max_size=None) as connection:
        connection.send(json.dumps(fields | {"image": text}))
        while (frame := json.loads(connection.recv(timeout=60)))["type"] not in ("result", "error"):
            pass
    assert frame["type"] == "result", frame
