"""Tokens of Hugging Face open a server that asks the hub; here the hub is a fake one on loopback."""

import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest
import requests
import websocket
from huggingface_hub import InferenceClient

from tests.support.server import GUNICORN, SERVE, Server, refused_start

KEY = "cat-secret-0123456789"
ANN, BOB, EVE = "hf_annsToken0123456789", "hf_bobsToken0123456789", "hf_evesToken0123456789"
WRITER, FRESH, SLOW = "hf_annsWriter0123456789", "hf_freshToken0123456789", "hf_slowToken0123456789"
NAMES = {ANN: "ann", BOB: "bob", EVE: "eve", WRITER: "ann", FRESH: "ann", SLOW: "ann"}


class Hub(ThreadingHTTPServer):
    """Answers whoami as the hub does; `mode` says how it is today."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _HubHandler)
        self.mode = "well"
        self.asked: Counter[str] = Counter()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class _HubHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.server.asked[token] += 1
        if self.path != "/api/whoami-v2" or token not in NAMES:
            self._answer(401, {"error": "Invalid credentials in Authorization header"})
        elif self.server.mode == "down":
            self._answer(503, {})
        else:
            if self.server.mode == "slow":
                time.sleep(2)
            role = "write" if token == WRITER else "read"
            orgs = [{"name": "acme"}] if token == BOB else []
            self._answer(200, {"name": NAMES[token], "orgs": orgs, "auth": {"accessToken": {"role": role}}})

    def _answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def hub():
    hub = Hub()
    yield hub
    hub.shutdown()
    hub.server_close()


@pytest.fixture(autouse=True)
def _well(hub):
    yield
    hub.mode = "well"


def settings(hub, **further):
    return {
        "HF_AUTH": "read", "HF_USERS": "ann,acme", "HF_ENDPOINT": hub.url, "OFFLINE": "0", "NO_PROXY": "*",
        "API_KEYS": f"cat:{KEY}", "LOG_LEVEL": "DEBUG", "LOG_FORMAT": "json", **further,
    }  # fmt: skip


@pytest.fixture(scope="module")
def server(servers, hub):
    server = servers(**settings(hub))
    yield server
    for token in (KEY, *NAMES):
        assert token not in server.log
        for file in server.folder.rglob("*"):
            assert not file.is_file() or token.encode() not in file.read_bytes(), file


def ask(server: Server, token: str, path: str = "/v1/jobs") -> requests.Response:
    return server.get(path, headers={"Authorization": f"Bearer {token}"})


def submit(server: Server, token: str) -> dict:
    body = {"prompt": "[step=0.1] whose", "resolution": "64x64"}
    return requests.post(
        f"{server.url}/submit", json=body, headers={"Authorization": f"Bearer {token}"}, timeout=10
    ).json()


def test_a_token_of_the_hub_opens_the_server_and_the_hub_is_asked_once(server, hub):
    for _ in range(3):
        assert ask(server, ANN).status_code == 200
    assert hub.asked[ANN] == 1


def test_a_key_of_the_server_s_own_is_none_of_the_hub_s_business(server, hub):
    assert ask(server, KEY).status_code == 200
    assert ask(server, KEY + "x").status_code == 401
    assert not [token for token in hub.asked if token.startswith("cat")]


def test_a_wrong_token_is_401_and_none_at_all_too(server):
    answer = ask(server, "hf_nobodysToken")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert server.get("/v1/jobs").status_code == 401


def test_an_organisation_lets_its_members_in_and_strangers_are_403(server):
    assert ask(server, BOB).status_code == 200
    answer = ask(server, EVE)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "HF_USERS" in answer.json()["error"]


def test_a_token_that_can_write_is_403_where_tokens_must_only_read(server):
    answer = ask(server, WRITER)
    assert answer.status_code == 403
    assert "HF_AUTH" in answer.json()["error"]


def test_jobs_belong_to_the_user_of_the_hub(server):
    taken = submit(server, ANN)
    number = taken["requestId"]
    server.wait_for(lambda: ask(server, ANN, f"/v1/jobs/{number}").ok, "the task's job")
    assert ask(server, BOB, f"/v1/jobs/{number}").status_code == 404
    assert ask(server, KEY, f"/status/{taken['task_id']}").status_code == 404
    events = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    # The two that were refused.
    assert [event["credential"] for event in events if "credential" in event][-2:] == ["hf:bob", "cat"]
    stop = f"{server.url}/v1/jobs/{number}"
    stopped = requests.delete(stop, headers={"Authorization": f"Bearer {ANN}"}, timeout=5)
    assert stopped.json()["state"] == "cancelled"


def test_many_requests_at_once_with_one_fresh_token_ask_the_hub_once_and_hold_nobody_up(server, hub):
    hub.mode = "slow"
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(ask, server, FRESH) for _ in range(20)]
        server.wait_for(lambda: hub.asked[FRESH], "the hub to be asked")
        assert ask(server, KEY).status_code == 200
        assert server.get("/livez").status_code == 200
        assert not any(answer.done() for answer in answers)
        assert [answer.result().status_code for answer in answers] == [200] * 20
    assert hub.asked[FRESH] == 1


@pytest.mark.fault(28)
def test_a_hub_that_is_down_is_503_in_every_dialect_and_opens_nothing(server, hub):
    hub.mode = "down"
    answer = ask(server, SLOW)
    assert (answer.status_code, answer.json()["code"]) == (503, "hub_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    with openai.OpenAI(base_url=server.url + "/v1", api_key=SLOW, max_retries=0) as client:
        with pytest.raises(openai.InternalServerError) as raised:
            client.images.generate(prompt="x")
        assert (raised.value.status_code, raised.value.code) == (503, "hub_unavailable")
        assert raised.value.request_id
    headers = {"Authorization": f"Bearer {SLOW}"}
    answer = requests.post(f"{server.url}/sdapi/v1/txt2img", json={"prompt": "x"}, headers=headers, timeout=10)
    assert answer.status_code == 503
    assert {"error", "detail", "body", "errors"} <= set(answer.json())
    with pytest.raises(websocket.WebSocketBadStatusException, match="503"):
        websocket.create_connection(f"ws://127.0.0.1:{server.port}/ws/generate?api_key={SLOW}", timeout=10)
    # Who is known already is believed, and the server's own keys never depend on the hub.
    assert ask(server, KEY).status_code == 200
    assert server.get("/livez").status_code == 200
    hub.mode = "well"
    assert ask(server, SLOW).status_code == 200


def test_hugging_face_s_own_client_sends_its_token(server):
    image = InferenceClient(f"{server.url}/models/auto", token=ANN).text_to_image("a cat", width=64, height=64)
    assert image.size == (64, 64)


def test_a_saved_image_opens_by_its_signed_address_without_api_keys_too(own_servers, hub):
    server = own_servers(ready=False, **settings(hub, API_KEYS="", HF_USERS="", HF_AUTH="any", HOST="0.0.0.0"))
    server.wait_for(lambda: "Ctrl+C" in server.log, "the banner")
    assert "WARNING HF_AUTH=any admits every account of the hub" in server.log
    assert "-H 'Authorization: Bearer KEY'" in server.log
    body = {"prompt": "saved", "size": "64x64", "save_to_file": True}
    url = server.post(body, headers={"Authorization": f"Bearer {WRITER}"}).json()["url"]
    assert requests.get(url, timeout=5).headers["Content-Type"] == "image/png"
    assert requests.get(url.partition("?")[0], timeout=5).status_code == 401


@pytest.mark.parametrize("command", [GUNICORN, SERVE], ids=["gunicorn", "serve"])
@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"HF_AUTH": "read", "OFFLINE": "1"}, "HF_AUTH=read must ask the hub who owns a token, but OFFLINE=1 never"),
        ({"HF_AUTH": "1"}, "HF_AUTH='1' is not valid: Input should be 'off', 'read' or 'any'."),
        ({"HF_USERS": "ann"}, "HF_USERS has no effect with HF_AUTH=off"),
        ({"HF_ENDPOINT": "hub.example"}, "HF_ENDPOINT='hub.example' is not valid"),
    ],
)
def test_settings_that_cannot_go_together_end_the_start_with_one_sentence(command, chosen, sentence, tmp_path):
    assert sentence in refused_start(command, tmp_path, **chosen)
