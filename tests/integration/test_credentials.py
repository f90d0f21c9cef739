"""With keys, every address but the monitors' asks for one, in every way that clients can give it; none is logged."""

import base64
import json
import os
import subprocess
import sys

import openai
import pytest
import requests
import websocket

from tests.support.server import GUNICORN, ROOT, SERVE, Server, refused_start

ANN, BOB = "ann-secret-0123456789", "bob-secret-0123456789"


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture(scope="module")
def locked(servers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("locked")
    names = folder / "names.toml"
    names.write_text("".join(f"[{name}]\nsource = '{folder}'\n" for name in ("named", "overridden")))
    keys = f"ann:{ANN},bob:{BOB} role=user"
    server = servers(API_KEYS=keys, LOG_LEVEL="DEBUG", LOG_FORMAT="json", MODELS_FILE=str(names))
    yield server
    assert ANN not in server.log
    assert BOB not in server.log


def ask(server: Server, path: str = "/v1/jobs", **headers: str) -> requests.Response:
    return server.get(path, headers=headers)


@pytest.mark.fault(27)
@pytest.mark.parametrize("path", ["/", "/health", "/livez", "/readyz", "/startupz", "/openapi.json", "/docs"])
def test_monitors_need_no_key(locked, path):
    assert ask(locked, path).status_code == 200


def test_everything_else_does(locked):
    document = ask(locked, "/openapi.json").json()
    opened = {"/", "/client.html", "/page/{name}", "/health", "/livez", "/readyz", "/startupz"}
    shared = ("post", "/share")  # the page comes up and asks for the key; test_page_share.py says what it reads
    for path, methods in document["paths"].items():
        for method in methods:
            answer = locked.ask(method.upper(), path.replace("{", "").replace("}", ""), json={}, timeout=10)
            is_open = (path in opened and method == "get") or (method, path) == shared
            assert (answer.status_code == 401) == (not is_open), (method, path, answer.status_code)
            if answer.status_code == 401:
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                # Some of AUTOMATIC1111's clients send a password only when they are asked for it.
                offers_basic = "Basic" in answer.headers["WWW-Authenticate"]
                assert offers_basic == path.startswith(("/sdapi/", "/controlnet/", "/internal/", "/queue/")), path


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {ANN}"},
        {"Authorization": f"bearer {ANN}"},
        {"X-API-Key": ANN},
        {"Authorization": basic("ann", ANN)},
        {"Authorization": basic("anybody", ANN)},
    ],
)
def test_a_key_is_taken_wherever_clients_put_it(locked, headers):
    assert ask(locked, **headers).status_code == 200


@pytest.mark.fault(27)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {ANN}x"},
        {"Authorization": "Basic !!"},
        {"Authorization": "Basic "},
        {"Authorization": basic(ANN, "")},
        {"X-API-Key": "wrong"},
        {"Cookie": ANN},
    ],
)
def test_anything_else_is_refused(locked, headers):
    answer = ask(locked, **headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert ask(locked, f"/v1/jobs?api_key={BOB[::-1]}").status_code == 401


@pytest.mark.fault(27)
def test_a_wrong_key_is_not_written_down_either(locked):
    wrong = "a-slip-of-the-pen-0123456789"
    assert ask(locked, Authorization=f"Bearer {wrong}").status_code == 401
    assert ask(locked, f"/ws/generate?api_key={wrong}").status_code == 401
    assert wrong not in locked.log


@pytest.mark.fault(27)
def test_a_key_in_the_query_counts_for_sockets_alone(locked):
    assert ask(locked, f"/v1/jobs?api_key={ANN}").status_code == 401


def test_the_log_says_whose_request_it_was(locked):
    answer = requests.post(f"{locked.url}/generate", json={"prompt": "whose", "size": "64x64"},
                           headers={"X-API-Key": ANN}, timeout=20)  # fmt: skip
    number = int(answer.headers["X-Request-Id"])
    events = [json.loads(line) for line in locked.log.splitlines() if line.startswith("{")]
    (event,) = [event for event in events if event["request_id"] == number and "Generated" in event["message"]]
    assert event["credential"] == "ann"


def test_the_name_of_one_request_does_not_stick_to_the_next_of_its_connection(locked):
    with requests.Session() as session:
        session.get(f"{locked.url}/v1/jobs", headers={"X-API-Key": ANN}, timeout=10)
        session.get(f"{locked.url}/v1/jobs/sticks", timeout=10)
    event = json.loads([line for line in locked.log.splitlines() if "unauthorized" in line][-1])
    assert "credential" not in event


def test_a_large_body_without_a_key_is_answered_and_not_cut_off(locked):
    answer = requests.post(f"{locked.url}/generate", data=b"x" * 2**24, headers={"Connection": "close"}, timeout=20)
    assert answer.status_code == 401


def test_dialects_refuse_in_their_own_shape(locked):
    with openai.OpenAI(base_url=locked.url + "/v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            client.images.generate(prompt="x")
        assert raised.value.code == "unauthorized"
        assert raised.value.request_id
    answer = requests.post(f"{locked.url}/sdapi/v1/txt2img", json={"prompt": "x"}, timeout=10)
    assert {"error", "detail", "body", "errors"} <= set(answer.json())
    answer = requests.post(f"{locked.url}/models/fake", json={"inputs": "x"}, timeout=10)
    assert set(answer.json()) >= {"error"}
    assert answer.status_code == 401


def test_the_openai_sdk_sends_its_key(locked):
    with openai.OpenAI(base_url=locked.url + "/v1", api_key=ANN) as client:
        assert client.images.generate(prompt="x", size="64x64").size == "64x64"


def test_a_socket_may_have_its_key_in_the_address(locked):
    address = f"ws://127.0.0.1:{locked.port}/ws/generate"
    with pytest.raises(websocket.WebSocketBadStatusException, match="401"):
        websocket.create_connection(address, timeout=10)
    connection = websocket.create_connection(f"{address}?api_key={ANN}", timeout=10)
    connection.send(json.dumps({"prompt": "x", "size": "64x64", "num_inference_steps": 2}))
    while (frame := json.loads(connection.recv()))["type"] != "result":
        pass
    connection.close()
    path = f"/v1/jobs/{frame['data']['request_id']}"
    assert ask(locked, path, **{"X-API-Key": ANN}).ok
    assert ask(locked, path, **{"X-API-Key": BOB}).status_code == 404


@pytest.mark.parametrize(
    ("model", "path", "body"),
    [
        ("named", "/generate", {"model": "named"}),
        ("overridden", "/sdapi/v1/txt2img", {"override_settings": {"sd_model_checkpoint": "overridden"}}),
    ],
)
def test_a_user_loads_a_model_by_naming_it_for_an_image_and_in_no_other_way(locked, model, path, body):
    def is_loaded() -> bool:
        listed = ask(locked, "/v1/models", **{"X-API-Key": BOB}).json()["data"]
        return any(entry["loaded"] for entry in listed if entry["id"] == model)

    by_bob = {"headers": {"X-API-Key": BOB}, "timeout": 20}
    refused = locked.ask("POST", "/v1/models/load", json={"model": model}, **by_bob)
    assert (refused.status_code, refused.json()["error"]["code"], is_loaded()) == (403, "admin_required", False)
    assert locked.ask("POST", path, json={"prompt": "x"} | body, **by_bob).ok
    assert is_loaded()


def test_an_estimate_does_not_tell_what_another_key_has_generated(locked):
    body = {"prompt": "known to ann alone", "size": "64x64"}
    assert locked.post(body, headers={"X-API-Key": ANN}).ok
    estimates = [
        locked.ask("POST", "/v1/estimate", json=body, headers={"X-API-Key": key}, timeout=10) for key in (ANN, BOB)
    ]
    assert [estimate.json()["cache_hit"] for estimate in estimates] == [True, False]


def test_a_saved_image_opens_by_its_signed_address_and_by_no_other(locked):
    body = {"prompt": "saved", "size": "64x64", "save_to_file": True}
    url = requests.post(f"{locked.url}/generate", json=body, headers={"X-API-Key": ANN}, timeout=20).json()["url"]
    assert requests.get(url, timeout=5).headers["Content-Type"] == "image/png"
    plain, _, signature = url.partition("?sig=")
    assert len(signature) == 32
    for wrong in (plain, f"{plain}?sig=", f"{plain}?sig={signature[::-1]}", f"{plain}?sig={signature}0"):
        assert requests.get(wrong, timeout=5).status_code == 401
        # Names are easy to guess, so no key opens them, not even the one that the image was generated with.
        for key in (ANN, BOB):
            refused = requests.get(wrong, headers={"X-API-Key": key}, timeout=5)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    missing = requests.get(plain.replace("req", "req1"), headers={"X-API-Key": BOB}, timeout=5)
    assert missing.json() | {"request_id": 0} == refused.json() | {"request_id": 0}
    other = url.replace("req", "req1")
    assert requests.get(other, timeout=5).status_code == 401


def test_what_a_key_opened_is_not_kept_for_everybody_by_a_proxy(locked):
    body = {"prompt": "saved", "size": "64x64", "save_to_file": True}
    url = requests.post(f"{locked.url}/generate", json=body, headers={"X-API-Key": ANN}, timeout=20).json()["url"]
    kept = requests.get(url, headers={"X-API-Key": ANN}, timeout=5).headers["Cache-Control"]
    assert "private" in kept
    assert "public" not in kept


@pytest.mark.parametrize("path", ["/info", "/metrics", "/status", "/health"])
def test_no_answer_shows_a_key(locked, path):
    assert "secret-0123456789" not in ask(locked, path, **{"X-API-Key": ANN}).text


def test_everybody_sees_and_stops_only_their_own_jobs(locked):
    taken = requests.post(f"{locked.url}/submit", json={"prompt": "[step=0.1] anns", "resolution": "64x64"},
                          headers={"X-API-Key": ANN}, timeout=10).json()  # fmt: skip
    number = taken["requestId"]
    # A task is answered before its job is there.
    locked.wait_for(lambda: ask(locked, f"/v1/jobs/{number}", **{"X-API-Key": ANN}).ok, "the task's job")
    assert ask(locked, f"/v1/jobs/{number}", **{"X-API-Key": BOB}).status_code == 404
    assert ask(locked, f"/status/{taken['task_id']}", **{"X-API-Key": BOB}).status_code == 404
    assert number not in [job["id"] for job in ask(locked, **{"X-API-Key": BOB}).json()["data"]]
    delete = f"{locked.url}/v1/jobs/{number}"
    assert requests.delete(delete, headers={"X-API-Key": BOB}, timeout=5).status_code == 404
    assert requests.delete(delete, headers={"X-API-Key": ANN}, timeout=5).json()["state"] == "cancelled"


def test_a_flood_of_one_credential_does_not_delay_another(own_servers):
    server = own_servers(API_KEYS=f"ann:{ANN},bob:{BOB}")
    flood = [
        requests.post(f"{server.url}/submit", json={"prompt": f"[step=0.05] {n}", "resolution": "64x64",
                      "num_inference_steps": 20}, headers={"X-API-Key": ANN}, timeout=10).json()["task_id"]
        for n in range(8)
    ]  # fmt: skip
    answer = requests.post(
        f"{server.url}/generate", json={"prompt": "[step=0.05] alone", "size": "64x64", "num_inference_steps": 20},
        headers={"X-API-Key": BOB}, timeout=60,
    )  # fmt: skip
    assert answer.status_code == 200
    states = [ask(server, f"/status/{task}", **{"X-API-Key": ANN}).json()["status"] for task in flood]
    assert states.count("completed") <= 4
    for task in flood:
        requests.delete(f"{server.url}/status/{task}", headers={"X-API-Key": ANN}, timeout=10)


@pytest.mark.parametrize("command", [GUNICORN, SERVE], ids=["gunicorn", "serve"])
@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("API_KEYS", "hush-hush", "Key 1 of API_KEYS is too short"),
        ("API_KEYS_FILE", os.devnull, "contains no key"),
    ],
)
def test_wrong_keys_end_the_start_with_one_sentence(command, name, value, sentence, tmp_path):
    assert sentence in refused_start(command, tmp_path, OFFLINE="1", **{name: value})


def test_the_banner_shows_how_to_send_a_key_and_warns_only_without_one(own_servers):
    opened = own_servers(ready=False, HOST="0.0.0.0", ALLOW_OPEN="1")
    locked = own_servers(ready=False, HOST="0.0.0.0", API_KEYS=ANN)
    for server in (opened, locked):
        server.wait_for(lambda server=server: "Ctrl+C" in server.log, "the banner")
    assert "WARNING HOST=0.0.0.0" in opened.log
    assert "Bearer" not in opened.log
    assert "WARNING" not in locked.log
    assert "-H 'Authorization: Bearer KEY'" in locked.log
    assert ANN not in locked.log


@pytest.mark.parametrize("script", ["test_client.py", "test_connectivity.py", "test_concurrent.py"])
def test_the_scripts_send_a_key(locked, script, tmp_path):
    own = {
        "test_client.py": ["--output-dir", str(tmp_path)], "test_concurrent.py": ["--requests", "2", "--steps", "1"],
    }  # fmt: skip
    command = [sys.executable, script, "--url", locked.url, *own.get(script, [])]

    def run(*arguments: str, key: str = "") -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"QIS_API_KEY": key}
        return subprocess.run(
            [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100
        )

    for ended in (run("--api-key", ANN), run(key=BOB)):
        assert ended.returncode == 0, ended.stdout + ended.stderr
    refused = run()
    assert refused.returncode == 1
    assert "answered 401: This server requires an API key." in refused.stdout + refused.stderr


@pytest.mark.alone
def test_a_flood_that_has_waited_long_does_not_delay_another_either(own_servers):
    server = own_servers(API_KEYS=f"ann:{ANN},zoe:{BOB}")
    body = {"prompt": "[step=0.05] alone", "size": "64x64", "num_inference_steps": 10, "cache": False}
    # The server has learnt what an image costs before it says when one is due.
    for _ in range(3):
        assert server.post(body, headers={"X-API-Key": ANN}).ok
    flood = [
        requests.post(f"{server.url}/submit", json={"prompt": f"[step=0.05] {n}", "resolution": "64x64",
                      "num_inference_steps": 10}, headers={"X-API-Key": ANN}, timeout=10).json()["task_id"]
        for n in range(20)
    ]  # fmt: skip

    def done() -> int:
        tasks = [ask(server, f"/status/{task}", **{"X-API-Key": ANN}).json() for task in flood]
        return [task["status"] for task in tasks].count("completed")

    server.wait_for(lambda: done() >= 6, "all of the flood to be overdue")
    before = done()
    estimate = requests.post(f"{server.url}/v1/estimate", json=body, headers={"X-API-Key": BOB}, timeout=10).json()
    assert server.post(body, headers={"X-API-Key": BOB}).ok
    assert done() - before <= 4
    # What runs, and a quantum of one second, which is two of these.
    assert estimate["queue_position"] <= 3
    for task in flood:
        requests.delete(f"{server.url}/status/{task}", headers={"X-API-Key": ANN}, timeout=10)


def test_a_line_of_the_json_log_tells_what_was_generated_and_for_whom(locked):
    answer = locked.post({"prompt": "for the log", "size": "64x64", "seed": 7}, headers={"X-API-Key": ANN})
    assert answer.ok
    lines = [json.loads(line) for line in locked.log.splitlines() if "Generated 1 x" in line]
    [line] = [line for line in lines if line["prompt"].startswith("for the log")]
    assert line["request_id"] == int(answer.headers["X-Request-Id"])
    assert (line["seed"], line["model_id"], line["credential"]) == (7, "fake", "ann")
    assert line["latency_ms"] >= 0


@pytest.mark.fault(30)
def test_limits_of_a_key_hold_in_every_dialect_and_its_seconds_over_a_restart(own_servers, tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"ann:{ANN} rpm=4 device_seconds_per_day=1000\nbob:{BOB}\n")
    settings = {"API_KEYS_FILE": str(file), "WORKERS": "2", "STATE_DIR": str(tmp_path / "state")}
    server = own_servers(**settings)
    ann, bob = {"X-API-Key": ANN}, {"X-API-Key": BOB}
    body = {"prompt": "counted", "size": "64x64", "num_inference_steps": 4}

    def used() -> float:
        """Return the device seconds of this day."""
        return ask(server, "/v1/usage", **ann).json()["quotas"][2]["used"]

    first = server.post(body, headers=ann)
    spent = used()
    again = server.post(body, headers=ann)
    assert (first.headers["X-Cache"], again.headers["X-Cache"]) == ("miss", "hit")
    assert used() == spent > 0
    assert [answer.headers["RateLimit"][:12] for answer in (first, again)] == ['"minute";r=3', '"minute";r=2']
    # The same request of another key tells nothing.
    assert server.post(body, headers=bob).headers["X-Cache"] == "miss"
    batch = {"requests": [{"prompt": "x", "resolution": "64x64"}] * 3}
    assert server.ask("POST", "/batch_submit", json=batch, headers=ann, timeout=20).status_code == 429
    connection = websocket.create_connection(f"ws://127.0.0.1:{server.port}/ws/generate?api_key={ANN}", timeout=10)
    connection.send(json.dumps(body))
    while (frame := json.loads(connection.recv()))["type"] not in ("result", "error"):
        pass
    assert frame["type"] == "result"
    connection.send(json.dumps(body))
    while (frame := json.loads(connection.recv()))["type"] not in ("result", "error"):
        pass
    assert (frame["code"], frame["retry_after"] > 0) == ("rate_limited", True)
    connection.close()
    with (
        openai.OpenAI(base_url=server.url + "/v1", api_key=ANN, max_retries=0) as client,
        pytest.raises(openai.RateLimitError) as raised,
    ):
        client.images.generate(prompt="x", size="64x64")
    assert raised.value.type == "rate_limit_exceeded"
    assert 0 < int(raised.value.response.headers["Retry-After"]) <= 60
    assert server.post(body, headers=bob).ok
    # All hits, and whichever worker answers.
    assert {used() for _ in range(4)} == {spent}
    server.stop()
    again = own_servers(**settings)
    assert ask(again, "/v1/usage", **ann).json()["quotas"][2]["used"] == spent
