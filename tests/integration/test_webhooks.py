"""A client's own server is told when its task has ended, whatever dies or fails meanwhile."""

import hashlib
import hmac
import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from tests.support.server import GUNICORN, SERVE, Server, refused_start

SECRET = "webhook-secret-0123456789"
ANN = "ann-secret-0123456789"


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent; answers the next statuses of `refusals` first, then 204."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _ReceiverHandler)
        self.got, self.refusals, self.pause = [], [], 0.0
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook"

    def of(self, task_id):
        """Return the bodies that were sent for a task."""
        return [body for body in self.got if body["task_id"] == task_id]


class _ReceiverHandler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        timestamp = self.headers["X-Webhook-Timestamp"]
        signed = hmac.new(SECRET.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
        content = json.loads(body)
        genuine = (
            self.headers["X-Webhook-Signature"] == f"sha256={signed}"
            and self.headers["X-Webhook-Id"] == content["task_id"]
            and abs(time.time() - int(timestamp)) < 60
        )
        self.server.got.append(content | {"genuine": genuine})
        time.sleep(self.server.pause)
        self.send_response(self.server.refusals.pop(0) if self.server.refusals else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.shutdown()
    receiver.server_close()


def settings(**further):
    return {"WEBHOOK_SECRET": SECRET, "WEBHOOK_HOSTS": "127.0.0.1", "OFFLINE": "0", **further}


@pytest.fixture(scope="module")
def server(servers):
    server = servers(**settings())
    yield server
    assert SECRET not in server.log


def submit(server: Server, receiver: Receiver, prompt: str = "a task", **fields: object) -> str:
    body = {"prompt": prompt, "resolution": "64x64", "num_inference_steps": 3, "webhook_url": receiver.url} | fields
    answer = requests.post(f"{server.url}/submit", json=body, timeout=20)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["task_id"])


def webhook_of(server: Server, task_id: str) -> dict:
    return server.get(f"/status/{task_id}").json()["webhook"]


def wait_for(server: Server, task_id: str, state: str, timeout: float = 30.0) -> dict:
    server.wait_for(lambda: webhook_of(server, task_id)["state"] == state, f"the webhook to be {state}", timeout)
    return webhook_of(server, task_id)


def test_a_completed_task_is_told_as_its_status_would_be_and_signed(server, receiver):
    task_id = submit(server, receiver)
    assert wait_for(server, task_id, "delivered") == {"state": "delivered", "attempts": 1, "error": None}
    [told] = receiver.of(task_id)
    now = server.get(f"/status/{task_id}").json()
    assert told.pop("genuine")
    assert told.pop("webhook") == {"state": "waiting", "attempts": 1, "error": None}
    assert told == {name: value for name, value in now.items() if name != "webhook"}
    assert told["status"] == "completed"
    assert requests.get(told["result_urls"][0], timeout=5).headers["Content-Type"] == "image/png"


def test_failed_and_cancelled_tasks_are_told_too(server, receiver):
    failed = submit(server, receiver, "[fail]")
    wait_for(server, failed, "delivered")
    assert [(told["status"], told["code"]) for told in receiver.of(failed)] == [("failed", "generation_failed")]
    cancelled = submit(server, receiver, "[step=0.1] long", num_inference_steps=50)
    assert requests.delete(f"{server.url}/status/{cancelled}", timeout=5).json()["webhook"]["state"] == "waiting"
    wait_for(server, cancelled, "delivered")
    assert [told["status"] for told in receiver.of(cancelled)] == ["cancelled"]


def test_a_task_without_a_webhook_has_none(server):
    answer = requests.post(f"{server.url}/submit", json={"prompt": "x", "resolution": "64x64"}, timeout=20).json()
    assert webhook_of(server, answer["task_id"]) is None


def test_a_batch_may_name_one_for_all_and_each_task_its_own(server, receiver):
    wanted = [{"prompt": f"{n}", "resolution": "64x64"} for n in range(3)]
    wanted[2]["webhook_url"] = receiver.url + "?own"
    answer = requests.post(
        f"{server.url}/batch_submit", json={"requests": wanted, "webhook_url": receiver.url}, timeout=20
    ).json()
    for task_id in answer["task_ids"]:
        wait_for(server, task_id, "delivered")
        assert len(receiver.of(task_id)) == 1


def test_a_receiver_that_fails_is_tried_again_and_its_failure_shown(server, receiver):
    receiver.refusals = [500, 302]
    task_id = submit(server, receiver)
    server.wait_for(lambda: webhook_of(server, task_id)["error"] == "The receiver returned 500.", "the first failure")
    assert webhook_of(server, task_id)["state"] == "waiting"
    assert wait_for(server, task_id, "delivered") == {"state": "delivered", "attempts": 3, "error": None}
    assert [told["genuine"] for told in receiver.of(task_id)] == [True] * 3
    assert f"The webhook of task {task_id} is retried in 5 s: The receiver returned 302." in server.log


def test_a_slow_receiver_delays_no_task_and_no_request(server, receiver):
    receiver.pause = 3.0
    task_id = submit(server, receiver)
    server.wait_for(lambda: receiver.of(task_id), "the delivery to begin")
    began = time.monotonic()
    assert server.get(f"/status/{task_id}").json()["status"] == "completed"
    assert server.generate("meanwhile", size="64x64").ok
    assert time.monotonic() - began < 2.5
    assert webhook_of(server, task_id)["state"] == "waiting"
    wait_for(server, task_id, "delivered")


@pytest.mark.parametrize(
    "url",
    ["http://localhost:1/", "http://10.0.0.1/", "http://127.0.0.1.evil.invalid/", "file:///etc/passwd", "x" * 9000],
)
def test_other_addresses_are_refused_by_name_and_nothing_is_generated(server, url):
    total = server.health()["total_tasks"]
    answer = requests.post(f"{server.url}/submit", json={"prompt": "x", "webhook_url": url}, timeout=20)
    assert (answer.status_code, answer.json()["param"]) == (422, "webhook_url")
    batch = {"requests": [{"prompt": "x"}, {"prompt": "x", "webhook_url": url}]}
    answer = requests.post(f"{server.url}/batch_submit", json=batch, timeout=20)
    assert (answer.status_code, answer.json()["param"]) == (422, "requests[1].webhook_url")
    answer = requests.post(
        f"{server.url}/batch_submit", json={"requests": [{"prompt": "x"}], "webhook_url": url}, timeout=20
    )
    assert (answer.status_code, answer.json()["param"]) == (422, "webhook_url")
    assert server.health()["total_tasks"] == total


def test_loopback_is_refused_unless_the_owner_has_opened_it(own_servers, receiver):
    server = own_servers(**settings(WEBHOOK_HOSTS="public"))
    answer = requests.post(f"{server.url}/submit", json={"prompt": "x", "webhook_url": receiver.url}, timeout=20)
    assert answer.status_code == 422
    assert answer.json()["error"] == "webhook_url cannot be used: it is not a public address."


def test_without_a_secret_a_webhook_is_refused_with_the_name_of_the_setting(fake_server):
    body = {"prompt": "x", "resolution": "64x64", "webhook_url": "https://example.com/"}
    answer = requests.post(f"{fake_server.url}/submit", json=body, timeout=20)
    assert (answer.status_code, answer.json()["param"]) == (422, "webhook_url")
    assert "WEBHOOK_SECRET" in answer.json()["error"]


def test_a_killed_worker_s_task_is_generated_and_told_by_the_next_one(own_servers, receiver):
    server = own_servers(**settings())
    task_id = submit(server, receiver, "[step=0.1] survives", num_inference_steps=30)
    server.wait_until_active()
    for worker in server.worker_pids():
        os.kill(worker, signal.SIGKILL)
    wait_for(server, task_id, "delivered", 60)
    assert [(told["status"], told["genuine"]) for told in receiver.of(task_id)] == [("completed", True)]


@pytest.mark.skipif("QIS_FULL" not in os.environ, reason="waits until the killed worker's lease is over")
def test_a_worker_killed_in_the_middle_of_a_delivery_leaves_it_to_the_next_one(own_servers, receiver):
    server = own_servers(**settings())
    receiver.pause = 5.0
    task_id = submit(server, receiver)
    server.wait_for(lambda: receiver.of(task_id), "the delivery to begin")
    for worker in server.worker_pids():
        os.kill(worker, signal.SIGKILL)
    receiver.pause = 0.0
    assert wait_for(server, task_id, "delivered", 60)["attempts"] == 2
    assert [told["genuine"] for told in receiver.of(task_id)] == [True, True]


def test_what_was_not_delivered_is_delivered_after_the_next_start(own_servers, receiver, tmp_path):
    receiver.refusals = [503] * 2
    first = own_servers(**settings(STATE_DIR=str(tmp_path)))
    task_id = submit(first, receiver)
    first.wait_for(lambda: webhook_of(first, task_id)["attempts"] == 2, "the second attempt")
    first.wait_for(lambda: webhook_of(first, task_id)["error"], "the failure")
    first.process.kill()
    first.process.wait()
    second = own_servers(**settings(STATE_DIR=str(tmp_path)))
    assert wait_for(second, task_id, "delivered", 60)["attempts"] == 3
    assert {told["result_urls"][0].rpartition("/images")[0] for told in receiver.of(task_id)} == {first.url}


def test_several_workers_tell_it_once(own_servers, receiver):
    server = own_servers(**settings(WORKERS="3", API_KEYS=f"ann:{ANN}"))
    headers = {"Authorization": f"Bearer {ANN}"}
    body = {"requests": [{"prompt": f"{n}", "resolution": "64x64"} for n in range(6)], "webhook_url": receiver.url}
    answer = requests.post(f"{server.url}/batch_submit", json=body, headers=headers, timeout=20).json()
    server.wait_for(lambda: len(receiver.got) >= 6, "all of them")
    time.sleep(1.5)
    assert sorted(told["task_id"] for told in receiver.got) == sorted(answer["task_ids"])
    # The addresses of images are signed, so that the receiver may open them.
    assert requests.get(receiver.got[0]["result_urls"][0], timeout=5).ok


@pytest.mark.parametrize("command", [GUNICORN, SERVE], ids=["gunicorn", "serve"])
@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"WEBHOOK_SECRET": "hush-hush"}, "WEBHOOK_SECRET is too short: it must have at least 16 characters."),
        ({"WEBHOOK_HOSTS": "a.example, http://b"}, "'http://b' is neither HOST nor HOST:PORT"),
        ({"WEBHOOK_HOSTS": "a.example:99999"}, "'a.example:99999' is neither HOST nor HOST:PORT"),
    ],
)
def test_wrong_settings_end_the_start_with_one_sentence(command, chosen, sentence, tmp_path):
    assert sentence in refused_start(command, tmp_path, **chosen)
