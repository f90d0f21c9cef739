"""The service as a whole: quick under load, one queue for all workers, ids, storage, neighbours (1, 15, 16, 18, 36)."""

import http.client
import statistics
import time

import pytest

from imageserver.dispatch.client.runtime_dir import RuntimeDir
from imageserver.protocol.channel import Channel
from imageserver.protocol.framing import LENGTHS
from imageserver.protocol.messages import Hello
from tests.support.server import in_background


def health_p99(server, polls=100, pause=0.01):
    """Poll /health a hundred times a second and return the 99th percentile of the seconds it took."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    times = []
    for _ in range(polls):
        began = time.perf_counter()
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()
        times.append(time.perf_counter() - began)
        assert answer.status == 200
        time.sleep(max(0.0, pause - times[-1]))
    connection.close()
    return statistics.quantiles(times, n=100)[98]


def best_p99_while_generating(server, prompt, **fields):
    """Return the best of up to five rounds, because the machine may be busy with other things."""
    rounds = []
    while len(rounds) < 5 and min(rounds, default=1) >= 0.05:
        running = server.start_generating(prompt, **fields)
        server.wait_until_active()
        rounds.append(health_p99(server))
        assert running.result(100).status_code == 200
    return min(rounds)


@pytest.mark.alone
@pytest.mark.fault(1)
def test_health_answers_within_50_ms_during_a_generation(fake_server):
    assert best_p99_while_generating(fake_server, "[step=0.02]", num_inference_steps=75) < 0.05


@pytest.mark.alone
@pytest.mark.fault(1)
def test_health_answers_within_50_ms_while_the_demo_model_generates(demo_server):
    assert best_p99_while_generating(demo_server, "a red circle", num_inference_steps=100) < 0.05


@pytest.mark.alone
@pytest.mark.fault(1)
def test_health_answers_within_50_ms_while_large_images_are_encoded(fake_server):
    running = [
        in_background(lambda: [fake_server.generate(aspect_ratio="1:1", num_inference_steps=1) for _ in range(6)])
    ]
    rounds = [health_p99(fake_server, polls=30) for _ in range(3)]
    assert all(answer.ok for answers in running for answer in answers.result(60))
    assert min(rounds) < 0.05


@pytest.mark.fault(15)
def test_two_workers_share_one_queue_one_engine_and_one_count(own_servers):
    server = own_servers(WORKERS="2")
    server.wait_for(lambda: len(server.worker_pids()) == 2, "two workers")
    futures = [server.start_generating("[step=0.05]", num_inference_steps=10) for _ in range(6)]
    server.wait_for(lambda: server.health()["total_tasks"] == 6, "six tasks")
    answers = [future.result(60) for future in futures]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == 6
    server.wait_until_idle()
    time.sleep(0.2)
    seen = [server.health() for _ in range(20)]
    assert {(body["total_tasks"], body["engine_pid"], body["dispatcher_pid"]) for body in seen} == {
        (6, seen[0]["engine_pid"], seen[0]["dispatcher_pid"])
    }
    # The main process, two workers, one dispatcher and one engine.
    assert len(server.processes()) == 5


@pytest.mark.fault(18)
def test_ids_go_on_after_a_restart_and_names_differ_within_a_second(own_servers, tmp_path):
    folders = {"STATE_DIR": str(tmp_path / "state"), "OUTPUT_DIR": str(tmp_path / "images")}
    ids, paths = [], []
    for _ in range(2):
        server = own_servers(**folders)
        futures = [server.start_generating("a cat", save_to_file=True) for _ in range(5)]
        for answer in (future.result(30).json() for future in futures):
            ids.append(answer["request_id"])
            paths.append(answer["file_path"])
        assert server.stop() == 0
    assert len(set(ids)) == len(set(paths)) == 10
    assert max(ids[:5]) < min(ids[5:])
    assert len(list((tmp_path / "images").iterdir())) == 10


@pytest.mark.fault(16)
def test_output_folder_that_cannot_be_written_is_507_and_bytes_still_work(own_servers, tmp_path):
    in_the_way = tmp_path / "a file"
    in_the_way.write_text("keep me")
    server = own_servers(OUTPUT_DIR=str(in_the_way))
    answer = server.generate(save_to_file=True)
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    assert str(tmp_path) not in answer.text
    assert server.generate().ok
    assert in_the_way.read_text() == "keep me"
    assert list(tmp_path.iterdir()) == [in_the_way]


@pytest.mark.fault(36)
def test_server_boots_where_trio_is_installed(own_servers, tmp_path):
    (tmp_path / "trio").mkdir()
    # Trio cannot be imported after gevent has patched the sockets, so nothing of the server may try.
    (tmp_path / "trio" / "__init__.py").write_text("raise RuntimeError('trio was imported')\n")
    server = own_servers(PYTHONPATH=str(tmp_path))
    assert server.generate().ok
    assert "trio was imported" not in server.log


def test_two_servers_never_share_a_dispatcher(own_servers):
    first, second = own_servers(), own_servers()
    for server in (first, second):
        assert server.generate().ok
    assert first.health()["dispatcher_pid"] != second.health()["dispatcher_pid"]
    assert first.stop() == 0
    assert second.generate().ok
    assert second.health()["total_tasks"] == 2


def test_dispatcher_on_tcp_serves_and_refuses_a_wrong_key(own_servers):
    server = own_servers(DISPATCHER_TRANSPORT="tcp")
    assert server.generate().ok
    address, pid = RuntimeDir(server.process.pid).read()
    assert (address.path, pid) == (None, server.health()["dispatcher_pid"])
    for key in ("", "wrong", "falsch äöü", address.key[:-1]):
        channel = Channel(address.connect())
        channel.send(Hello(role="worker", key=key, pid=1))
        assert is_closed_at_once(channel)
    for rubbish in (b"GET / HTTP/1.1\r\n\r\n", LENGTHS.pack(3, 0) + b"abc", LENGTHS.pack(2**31, 0)):
        connection = address.connect()
        connection.sendall(rubbish)
        assert is_closed_at_once(Channel(connection))
    assert server.log.count("without the right key was refused") == 4
    assert server.generate().ok


def is_closed_at_once(channel):
    """Return whether the other side hangs up without a word."""
    try:
        channel.receive()
    except (EOFError, OSError):
        channel.close()
        return True
    return False
