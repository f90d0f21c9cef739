"""A full, a broken and a stopping server, and clients that leave: every dialect says it in its own words."""

import json
import signal
import socket

import pytest
import requests

from tests.support.dialects import DIALECTS, TASKS
from tests.support.server import Server, in_background

ALL = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


@ALL
def test_every_dialect_generates(fake_server, dialect):
    assert dialect.ask(fake_server, f"generated in {dialect.name}").status_code == 200


@pytest.fixture(scope="module")
def full_server(servers):
    return servers(MAX_QUEUE="1")


@pytest.mark.parametrize("dialect", [*DIALECTS, TASKS], ids=lambda dialect: dialect.name)
def test_a_full_server_says_when_to_come_back(full_server, dialect):
    full_server.wait_until_idle()
    busy = full_server.start_generating("[step=0.3] in the way", num_inference_steps=10)
    full_server.wait_until_active()
    answer = dialect.ask(full_server, "one too many")
    assert answer.status_code == 429, answer.text
    assert "MAX_QUEUE" in dialect.sentence(answer.json())
    assert int(answer.headers["Retry-After"]) >= 1
    [job] = full_server.get("/v1/jobs?state=processing").json()["data"]
    requests.delete(f"{full_server.url}/v1/jobs/{job['id']}", timeout=10)
    busy.result(20)
    full_server.wait_until_idle()


@pytest.fixture(scope="module")
def broken_server(servers):
    server = servers(ready=False, FAKE_LOAD_FAIL="The model cannot be loaded: it is broken.")
    server.wait_for(lambda: server.health()["status"] == "degraded", "the failure")
    return server


@ALL
def test_a_server_without_a_model_says_why(broken_server, dialect):
    answer = dialect.ask(broken_server, "nobody generates")
    assert answer.status_code == 503, answer.text
    assert "it is broken" in dialect.sentence(answer.json())


def test_a_stopping_server_ends_what_takes_too_long_with_its_own_503(own_servers, subtests):
    server = own_servers(GRACEFUL_TIMEOUT="2")
    asked = [(each, in_background(each.ask, server, f"[step=0.2] endless {each.name}", 100)) for each in DIALECTS]
    server.wait_for(lambda: server.health()["queue_length"] == len(DIALECTS) - 1, "all of them")
    server.process.send_signal(signal.SIGTERM)
    for dialect, future in asked:
        with subtests.test(dialect.name):
            answer = future.result(20)
            if "event-stream" in answer.headers["Content-Type"]:
                data = [line[len("data: ") :] for line in answer.text.splitlines() if line.startswith("data: ")]
                errors = [json.loads(one) for one in data if one != "[DONE]" and "error" in json.loads(one)]
                assert "stopping" in json.dumps(errors[-1])
            else:
                assert answer.status_code == 503, answer.text
                assert "stopping" in dialect.sentence(answer.json())


@pytest.mark.fault(7)
@ALL
def test_a_client_that_hangs_up_frees_the_device_and_harms_no_neighbour(quiet_server, dialect):
    neighbour = quiet_server.start_generating("[step=0.02] neighbour", num_inference_steps=10, seed=9)
    marker = f"gone from {dialect.name}"
    body = json.dumps(dialect.json(f"[step=0.2] {marker}", 100)).encode()
    kind = "application/json"
    if dialect.files is not None:
        prepared = requests.Request(
            "POST", quiet_server.url, data=dialect.json(f"[step=0.2] {marker}", 100), files=dialect.files
        ).prepare()
        body, kind = prepared.body, prepared.headers["Content-Type"]
    with socket.create_connection(("127.0.0.1", quiet_server.port), timeout=10) as connection:
        length = f"Content-Type: {kind}\r\nContent-Length: {len(body)}"
        head = f"POST {dialect.path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n"
        connection.sendall(head.encode() + body)
        quiet_server.wait_for(lambda: state_of(quiet_server, marker) == "processing", "the job")
    quiet_server.wait_for(lambda: state_of(quiet_server, marker) == "cancelled", "the end of the job")
    answer = neighbour.result(20)
    assert answer.status_code == 200
    assert answer.headers["X-Seed"] == "9"


def state_of(server: Server, marker: str) -> str | None:
    jobs = server.get("/v1/jobs").json()["data"]
    return next((job["state"] for job in jobs if marker in job["prompt"]), None)
