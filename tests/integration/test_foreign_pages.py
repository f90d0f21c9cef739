"""What a browser would send for a foreign page, sent to real servers: nothing changes, and nothing is read."""

import http.client
import json
import os
import socket
import subprocess

import pytest
import requests
import websocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.support.paths import ROOT
from tests.support.server import GUNICORN, SERVE, free_port, refused_start

KEY = "a-key-of-the-tests"
BODY = {"prompt": "a circle", "size": "64x64", "num_inference_steps": 1}
# What changes something, in every way in which a page can send it without the browser asking first.
UNSAFE = [
    ("POST", "/v1/models/unload", "text/plain", {"model": "fake"}),
    ("POST", "/v1/models/load", "text/plain", {"model": "demo"}),
    ("POST", "/generate", "text/plain", BODY),
    ("POST", "/generate", "multipart/form-data; boundary=x", BODY),
    ("POST", "/generate", "application/x-www-form-urlencoded", BODY),
    ("POST", "/", "text/plain", {"inputs": "a circle"}),
    ("POST", "/submit", "text/plain", BODY),
    ("POST", "/v1/images/generations", "text/plain", BODY),
    ("POST", "/sdapi/v1/txt2img", "text/plain", BODY),
    ("POST", "/sdapi/v1/options", "text/plain", {"sd_model_checkpoint": "demo"}),
    ("POST", "/sdapi/v1/interrupt", "text/plain", {}),
    ("DELETE", "/v1/jobs/1", "text/plain", {}),
]


def raw(server, method, path, headers, body=b"", version=11):
    """Return status, headers and body of a request with exactly these headers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection._http_vsn, connection._http_vsn_str = version, f"HTTP/1.{version % 10}"
    connection.putrequest(method, path, skip_host=True)
    for name, text in ({"Connection": "close", "Content-Length": str(len(body))} | headers).items():
        connection.putheader(name, text)
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read().decode(errors="replace")
    connection.close()
    return answer.status, answer.headers, content


@pytest.mark.fault(37)
@pytest.mark.parametrize(("method", "path", "media", "body"), UNSAFE, ids=lambda value: str(value)[:30])
def test_a_foreign_page_changes_nothing_in_any_dialect(quiet_server, method, path, media, body):
    before = quiet_server.get("/v1/jobs", params={"limit": 1}).json()["data"]
    for foreign in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        headers = {"Host": f"127.0.0.1:{quiet_server.port}", "Content-Type": media} | foreign
        status, _, content = raw(quiet_server, method, path, headers, json.dumps(body).encode())
        assert (status, "ALLOWED_ORIGINS" in content) == (403, True), content
    assert quiet_server.get("/v1/jobs", params={"limit": 1}).json()["data"] == before
    assert quiet_server.health()["model_loaded"]


@pytest.mark.fault(37)
@pytest.mark.parametrize("path", ["/", "/v1/jobs", "/v1/models", "/sdapi/v1/options", "/status", "/docs", "/nothing"])
def test_a_rebound_name_reads_nothing(fake_server, path):
    status, headers, content = raw(fake_server, "GET", path, {"Host": f"evil.example:{fake_server.port}"})
    assert (status, "ALLOWED_HOSTS" in content) == (421, True), content
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_monitoring_reaches_it_under_any_name_and_old_clients_under_none(fake_server):
    for path in ("/livez", "/readyz", "/startupz", "/health", "/metrics"):
        assert raw(fake_server, "GET", path, {"Host": "10-0-0-5.pods.example"})[0] == 200
    assert raw(fake_server, "GET", "/v1/jobs", {}, version=10)[0] == 200
    for host in (f"LOCALHOST.:{fake_server.port}", f"[::1]:{fake_server.port}", socket.gethostname()):
        assert raw(fake_server, "GET", "/v1/jobs", {"Host": host})[0] == 200


@pytest.mark.fault(37)
def test_a_foreign_page_opens_no_websocket(fake_server):
    address = f"ws://127.0.0.1:{fake_server.port}/ws/generate"
    for origin in ("https://evil.example", "null", "http://localhost:3000"):
        with pytest.raises(InvalidStatus) as refused:
            connect(address, origin=origin)
        assert refused.value.response.status_code == 403
        assert b"ALLOWED_ORIGINS" in refused.value.response.body
    # This library sends the server's own origin by itself, the other one none.
    websocket.create_connection(address, timeout=10).close()
    check_socket(address)


def check_socket(address, **options):
    """Generate an image over a WebSocket."""
    with connect(address, **options) as connection:
        connection.send(json.dumps(BODY))
        while (frame := json.loads(connection.recv(timeout=20)))["type"] != "result":
            assert frame["type"] != "error", frame


def test_a_server_with_keys_answers_to_any_name_and_to_allowed_pages(own_servers):
    app = "https://app.example"
    server = own_servers(API_KEYS=KEY, ALLOWED_ORIGINS=app, PUBLIC_URL="https://images.example/path/")
    key = {"Authorization": f"Bearer {KEY}"}
    assert raw(server, "GET", "/v1/jobs", key | {"Host": "any.example"})[0] == 200
    assert raw(server, "GET", "/v1/jobs", {"Host": "any.example"})[0] == 401
    question = {
        "Origin": app,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    assert (
        server.ask("OPTIONS", "/generate", headers=question).headers["Access-Control-Allow-Headers"] == "authorization"
    )
    assert server.ask("OPTIONS", "/generate", headers=question | {"Origin": "https://evil.example"}).status_code == 403
    saved = server.post(BODY | {"save_to_file": True}, headers=key | {"Origin": app})
    assert saved.headers["Access-Control-Allow-Origin"] == app
    name = saved.json()["url"].removeprefix("https://images.example/path/images/")
    # The address is signed.
    assert requests.get(f"{server.url}/images/{name}", timeout=10).headers["Content-Type"] == "image/png"
    check_socket(f"ws://127.0.0.1:{server.port}/ws/generate?api_key={KEY}", origin=app)


@pytest.mark.parametrize("command", [GUNICORN, SERVE], ids=["gunicorn", "serve"])
def test_an_open_server_without_keys_ends_its_start_with_one_sentence(command, tmp_path):
    sentence = refused_start(command, tmp_path, HOST="0.0.0.0", API_KEYS="")
    assert sentence.startswith("HOST=0.0.0.0 would open this server to the network")
    assert "API_KEYS=KEY" in sentence
    assert "ALLOW_OPEN=1" in sentence


def test_gunicorn_s_own_argument_does_not_open_it_either(tmp_path):
    command = [*GUNICORN[:-1], "--bind", "0.0.0.0:0", GUNICORN[-1]]
    environment = os.environ | {"PORT": str(free_port()), "HOST": "127.0.0.1", "STATE_DIR": str(tmp_path)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert "ALLOW_OPEN=1" in ended.stderr.splitlines()[-1]


def test_every_answer_limits_what_a_browser_does_with_it(fake_server):
    image = fake_server.generate(size="64x64", num_inference_steps=1, save_to_file=True).json()["url"]
    name = image.removeprefix(fake_server.url)
    for path in ("/", "/docs", "/docs/css/swagger-ui.css", "/page/main.js", "/openapi.json", "/generate", "/nothing",
                 "/v1/models", "/ws/generate", "/metrics", name):  # fmt: skip
        headers = fake_server.get(path, headers={"Accept": "text/html"}).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"], path
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"], path
        assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer"), path
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin", path
