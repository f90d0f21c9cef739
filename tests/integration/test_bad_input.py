"""Whatever a client sends, the answer is an image or a 4xx that names the field; never a 5xx, never a hung socket."""

import json
import math
import socket

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imageserver.api.inputs.generate_request import GenerateBody
from tests.support.images import opened

TEXTS = {
    "one character": "x",
    "NUL": "a\x00b",
    "only NUL": "\x00",
    "emoji": "🐈\u200d⬛ 👩🏽\u200d🚀",
    "right to left": "\u202eقطة على نافذة",
    "control characters": "\x1b[31mred\r\nINFO forged\u2028line",
    "combining": "e\u0301" * 50,
    "astral": "\U0010ffff\U0001f600",
    "10,000 characters": "é" * 10_000,
}


@pytest.mark.fault(22)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_any_text_makes_an_image(fake_server, field, text, output_format):
    response = fake_server.post({"prompt": "a cat", field: text, "output_format": output_format, "size": "64x64"})
    assert opened(response).size == (64, 64)


@pytest.mark.fault(22)
@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_text_over_the_limit_is_told_the_limit(fake_server, field):
    response = fake_server.post({"prompt": "a cat", field: "x" * 100_000})
    assert (response.status_code, response.json()["param"]) == (422, field)
    assert "10000" in response.json()["error"]


@pytest.mark.fault(22)
@pytest.mark.parametrize("field", ["prompt", "negative_prompt", "aspect_ratio", "language", "size", "model"])
def test_lone_surrogate_is_refused_naming_the_field(fake_server, field):
    response = fake_server.post({"prompt": "a cat", field: "a \ud800 b"})
    assert response.status_code in (400, 404, 422), response.text
    assert response.json()["param"] == field


def test_key_with_a_lone_surrogate_is_refused(fake_server):
    response = fake_server.post(b'{"prompt": "a cat", "\\ud800": 1}')
    assert (response.status_code, response.json()["code"]) == (422, "invalid_parameter")


PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
SAID = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/responses", {"input": "x"}, "instructions"),
        ("/v1/responses", {"input": "x", "stream": True, "tools": [{"type": "image_generation"}]}, "metadata"),
        ("/v1/chat/completions", {"messages": SAID}, "model"),
        ("/mcp", PING, "id"),
        ("/mcp", PING, "params"),
    ],
)
def test_lone_surrogate_is_refused_where_an_answer_would_repeat_it(fake_server, path, body, field):
    wrong = {"a": ["b \ud83d"]} if field in ("metadata", "params") else "b \ud83d"
    response = fake_server.ask("POST", path, json=body | {field: wrong})
    assert response.status_code in (400, 422), response.text
    error = response.json()["error"]
    assert error.get("data", error)["param"] == field


NOT_INTEGERS = [math.nan, math.inf, "20", True, 1.5, [], {}]
WRONG = {
    "num_inference_steps": [0, -1, 1e9, 10**9, *NOT_INTEGERS],
    "seed": [-2, 2**64, 10**30, 1e30, *NOT_INTEGERS],
    "n": [0, -1, 1e9, 10**9, *NOT_INTEGERS, None],
    "true_cfg_scale": [math.inf, -math.inf, math.nan, -1, 51, 10**400, "4", True, []],
    "guidance_scale": [math.inf, math.nan, -1, 51, "4"],
    "timeout": [0, -1, math.inf, math.nan, 1e9, "5"],
    "size": ["1x1", "1000000x1000000", "0x0", "-1x5", "512", "512x", "512x512\n", "٥١٢x512", 512],
    "output_format": ["gif", "PNG", 1, None],
    "output_compression": [-1, 101, "90"],
    "save_to_file": ["true", 1, None, "no"],
    "add_overlay": ["false", 0],
    "negative_prompt": [None, 5, ["a"]],
    "prompt": [5, ["a"], {"a": 1}, True],
    "model": [5, "x" * 201],
    "aspect_ratio": [None, 5, 1.5],
}


@pytest.mark.fault(23)
@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_wrong_value_is_422_naming_the_field(fake_server, field, value):
    response = fake_server.post(json.dumps({"prompt": "a cat", field: value}).encode())
    assert response.status_code == 422, response.text
    assert response.json()["param"] == field
    assert field in response.json()["error"]


@pytest.mark.parametrize("side", [1, 0, -5, 63, 4097, 10**6, math.nan, "512", True])
def test_wrong_width_is_422_naming_it(fake_server, side):
    response = fake_server.post(json.dumps({"prompt": "a cat", "width": side, "height": 512}).encode())
    assert (response.status_code, response.json()["param"]) == (422, "width")


def test_pixels_over_the_limit_are_refused(fake_server):
    response = fake_server.generate(width=4096, height=4096)
    assert (response.status_code, response.json()["param"]) == (422, "width")
    assert "MAX_PIXELS" in response.json()["error"]


def test_seeds_that_would_count_past_their_range_are_refused(fake_server):
    response = fake_server.generate(seed=2**64 - 1, n=2)
    assert (response.status_code, response.json()["param"]) == (422, "seed")


@pytest.mark.fault(24)
@pytest.mark.parametrize(
    "name",
    [
        "../server.log", "..%2fserver.log", "%2e%2e/server.log", "%2e%2e%2fserver.log", "..%5cserver.log",
        "....//x.png", "/etc/passwd", "%2fetc%2fpasswd", "//etc/passwd", "a%00.png", "%00", ".hidden.png", "link.png",
        "folder.png", "folder.png/x.png", "x" * 300 + ".png", "%ff.png", "con.png%0a", "~root/x.png",
    ],
)  # fmt: skip
@pytest.mark.parametrize("route", ["images", "download"])
def test_no_name_reaches_outside_the_folder_of_images(fake_server, route, name):
    fake_server.output_dir.mkdir(exist_ok=True)
    link = fake_server.output_dir / "link.png"
    if not link.is_symlink():
        link.symlink_to(fake_server.log_file)
    (fake_server.output_dir / "folder.png").mkdir(exist_ok=True)
    # requests tidies paths up before it sends them; a raw socket does not.
    with fake_server.connect() as connection:
        head = f"GET /{route}/{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode("latin-1"))
        answer = _read_all(connection)
    assert answer.split(b" ", 2)[1] in (b"404", b"308"), answer[:300]
    assert b"root:" not in answer
    assert b"INFO" not in answer


@pytest.mark.fault(24)
@pytest.mark.parametrize(
    "name", ["../server.log", "..\\server.log", "%2e%2e/x", "/etc", "{link}", "a\0b", "../a\0b", "~root"]
)
def test_no_name_of_a_model_reaches_a_folder_that_its_owner_did_not_name(fake_server, tmp_path, name):
    link = tmp_path / "link"
    link.symlink_to("/etc")
    before = fake_server.get("/v1/models").json()["data"]
    answer = fake_server.generate(model=name.format(link=link))
    assert answer.status_code in (404, 422), answer.text
    assert fake_server.get("/v1/models").json()["data"] == before


def _read_all(connection: socket.socket) -> bytes:
    answer = b""
    while data := connection.recv(65536):
        answer += data
    return answer


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
BODIES = st.fixed_dictionaries(
    {"prompt": st.text(st.characters(), max_size=20) | ANYTHING},
    # A tiny timeout is a right one, and the answer to it no image.
    optional={name: ANYTHING for name in GenerateBody.model_fields if name not in ("prompt", "timeout")}
    | {"other": ANYTHING},
)


def test_no_body_whatever_is_answered_with_a_server_error(fake_server):
    @settings(
        max_examples=120, deadline=None, database=None, derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(BODIES)
    def ask(body):
        response = fake_server.post(json.dumps(body).encode())
        assert response.status_code < 500, (body, response.text)
        if response.status_code != 200:
            field = response.json()["param"].partition("[")[0]
            assert field in {*body, "prompt"}, (body, response.text)

    ask()
    assert fake_server.generate().ok


def test_a_part_of_a_form_without_a_name_is_refused_as_any_unknown_field(fake_server):
    part = b"--x\r\nContent-Disposition: form-data%s\r\n\r\n%s\r\n"
    form = part % (b'; name="prompt"', b"a fox") + part % (b"", b"nameless") + b"--x--\r\n"
    answer = requests.post(
        f"{fake_server.url}/generate",
        data=form,
        headers={"Content-Type": "multipart/form-data; boundary=x"},
        timeout=10,
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"].startswith("'' is not a parameter")


@pytest.mark.parametrize(
    ("request_head", "status", "code"),
    [
        (b"NO HTTP AT ALL\r\n\r\n", 400, "bad_request"),
        (b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"a" * 5000), 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\nX: %s\r\n\r\n" % (b"a" * 9000), 431, "request_header_fields_too_large"),
        (b"GET / HTTP/1.1\r\nNo colon here\r\n\r\n", 400, "bad_request"),
    ],
)
def test_malformed_http_is_refused_in_json(fake_server, request_head, status, code):
    with fake_server.connect() as connection:
        connection.sendall(request_head)
        head, _, body = connection.makefile("rb").read().decode().partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert "nosniff" in head
    assert json.loads(body)["code"] == code
