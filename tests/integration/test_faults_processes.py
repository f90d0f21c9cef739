"""Workers, the dispatcher and the main process that are killed, reloaded or told to stop (faults 6, 10, 14)."""

import http.client
import os
import shutil
import signal
import time

import psutil
import pytest
import requests

from imageserver.dispatch.client.runtime_dir import RuntimeDir
from tests.support.server import GUNICORN, SERVE

BOTH = pytest.mark.parametrize("command", [None, SERVE], ids=["gunicorn", "serve"])


@pytest.mark.alone
@pytest.mark.fault(6)
def test_killed_worker_is_replaced_within_two_seconds_and_the_engine_stays(own_server):
    before = own_server.health()
    times = []
    for _ in range(3):
        running = own_server.start_generating("[step=0.1]", num_inference_steps=100)
        own_server.wait_until_active()
        (worker,) = own_server.worker_pids()
        os.kill(worker, signal.SIGKILL)
        times.append(own_server.wait_for(lambda: own_server.get("/readyz", timeout=2).ok, "a new worker"))
        assert isinstance(running.exception(10), requests.RequestException)
        own_server.wait_for(lambda: own_server.health()["active_tasks"] == 0, "the end of the orphaned job", 2)
        assert own_server.generate().ok
    after = own_server.health()
    assert [after[key] for key in ("engine_pid", "dispatcher_pid", "engine_restarts")] == [
        before["engine_pid"], before["dispatcher_pid"], 0
    ]  # fmt: skip
    assert len(own_server.processes()) == 4
    assert min(times) < 2


@pytest.mark.alone
@pytest.mark.fault(6)
@pytest.mark.fault(51)
def test_stopped_worker_is_replaced_and_the_engine_stays_whatever_was_damaged_since_the_start(own_servers, tmp_path):
    logs = tmp_path / "logs"
    server = own_servers(command=[*GUNICORN, "--timeout", "4"], LOG_FILE=str(logs / "server.log"))
    before, (stopped,) = server.health(), server.worker_pids()
    secret = server.folder / "state" / "provenance_secret"
    kept = secret.read_bytes()
    secret.write_bytes(b"short")
    shutil.rmtree(logs)
    logs.write_text("in its place")
    runtime_dir = RuntimeDir(server.process.pid)
    runtime_dir.address_file.unlink()
    runtime_dir.socket_path.unlink()
    os.kill(stopped, signal.SIGSTOP)
    server.wait_for(lambda: server.get("/readyz", timeout=1).ok, "a new worker")
    assert server.worker_pids() != [stopped]
    after = server.health()
    assert (after["engine_pid"], after["dispatcher_pid"]) == (before["engine_pid"], before["dispatcher_pid"])
    assert server.generate().ok
    assert secret.read_bytes() == kept
    assert server.log.count("LOG_FILE cannot be written") == 1


@pytest.mark.fault(10)
def test_a_server_that_is_stopped_while_a_worker_starts_ends_all_the_same(own_server):
    (killed,) = own_server.worker_pids()
    os.kill(killed, signal.SIGKILL)
    own_server.wait_for(lambda: own_server.worker_pids() not in ([], [killed]), "the process of a new worker")
    # Not after GRACEFUL_TIMEOUT.
    assert own_server.stop() == 0


@pytest.mark.fault(6)
def test_reload_finishes_what_runs_and_keeps_the_engine(own_server):
    before = own_server.health()
    (old_worker,) = own_server.worker_pids()
    running = own_server.start_generating("[step=0.1]", num_inference_steps=20)
    own_server.wait_until_active()
    own_server.process.send_signal(signal.SIGHUP)
    while not running.done():
        assert own_server.get("/livez").ok
        time.sleep(0.05)
    assert running.result().status_code == 200
    own_server.wait_for(lambda: own_server.worker_pids() not in ([], [old_worker]), "the new worker")
    own_server.wait_for(lambda: not psutil.pid_exists(old_worker), "the end of the old worker")
    own_server.wait_until_ready(5)
    assert own_server.generate().ok
    after = own_server.health()
    assert (after["engine_pid"], after["dispatcher_pid"]) == (before["engine_pid"], before["dispatcher_pid"])
    assert len(own_server.processes()) == 4


@pytest.mark.alone
@pytest.mark.fault(10)
@pytest.mark.parametrize(
    ("command", "number"),
    # gunicorn's own meaning of SIGINT is to stop without grace.
    [(None, signal.SIGTERM), (SERVE, signal.SIGTERM), (SERVE, signal.SIGINT)],
    ids=["gunicorn", "serve", "serve and Ctrl+C"],
)
def test_stopping_server_says_so_closes_the_door_and_finishes_what_runs(own_servers, command, number):
    server = own_servers(command=command)
    running = server.start_generating("[step=0.1]", num_inference_steps=30)
    server.wait_until_active()
    kept_alive = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    kept_alive.request("GET", "/readyz")
    assert kept_alive.getresponse().read() == b'{"status":"healthy"}\n'
    server.process.send_signal(number)
    answers = []
    while not answers or answers[-1][0] == 200:
        kept_alive.request("GET", "/readyz")
        answer = kept_alive.getresponse()
        answers.append((answer.status, answer.read()))
    kept_alive.close()
    assert answers[-1] == (503, b'{"status":"draining"}\n')
    server.wait_for(lambda: _is_closed(server), "the closed door", 5)
    assert not running.done()
    assert running.result(30).status_code == 200
    assert server.process.wait(10) == 0
    assert not server.leftovers(1)


@pytest.mark.alone
@pytest.mark.fault(10)
@BOTH
def test_what_outlasts_the_grace_is_answered_with_our_own_503(own_servers, command):
    server = own_servers(command=command, GRACEFUL_TIMEOUT="3")
    running = server.start_generating("[step=0.2]", num_inference_steps=100)
    server.wait_until_active()
    waiting = server.start_generating("a cat")
    server.wait_for(lambda: server.health()["queue_length"] == 1, "the queue")
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 8
    for future in (running, waiting):
        answer = future.result(5)
        assert (answer.status_code, answer.json()["code"]) == (503, "draining")
        assert int(answer.headers["Retry-After"]) >= 1
    assert not server.leftovers(1)


@pytest.mark.alone
@pytest.mark.fault(14)
@BOTH
def test_killed_dispatcher_is_replaced_and_its_clients_told_at_once(own_servers, command):
    server = own_servers(command=command)
    before = server.health()
    clients = [server.start_generating("[step=0.1]", num_inference_steps=100) for _ in range(2)]
    server.wait_for(lambda: server.health()["queue_length"] == 1, "the queue")
    os.kill(before["dispatcher_pid"], signal.SIGKILL)
    began = time.monotonic()
    for client in clients:
        answer = client.result(10)
        assert (answer.status_code, answer.json()["code"]) == (503, "engine_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    assert time.monotonic() - began < 1
    assert server.generate().ok
    after = server.health()
    assert after["status"] == "healthy"
    assert after["dispatcher_pid"] != before["dispatcher_pid"]
    assert before["engine_pid"] not in [process.pid for process in server.processes()]


@BOTH
def test_killed_main_process_leaves_nothing_behind(own_servers, command):
    server = own_servers(command=command)
    running = server.start_generating("[step=0.1]", num_inference_steps=100)
    server.wait_until_active()
    assert len(server.processes()) == (3 if command else 4)
    server.process.kill()
    server.process.wait()
    assert not server.leftovers(5)
    assert running.exception(5) or running.result().status_code == 503


def _is_closed(server):
    try:
        server.connect().close()
    except OSError:
        return True
    return False
