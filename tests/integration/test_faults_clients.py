"""Clients that leave, push too much or come too often (faults 7, 8, 9, 20)."""

import contextlib
import select
import socket
import statistics
import struct
import threading
import time

import pytest
import websocket

from benchmarks.memory import PeakMemory, memory_of
from tests.support.server import SERVE, in_background

SLOW = b'{"prompt": "[step=0.2]", "num_inference_steps": 50}'
STEP = 0.2


def leave_politely(connection):
    connection.close()


def slam_the_door(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.alone
@pytest.mark.fault(7)
@pytest.mark.parametrize("command", [None, SERVE], ids=["gunicorn", "serve"])
@pytest.mark.parametrize("leave", [leave_politely, slam_the_door], ids=["FIN", "RST"])
def test_client_that_leaves_frees_the_device_within_a_step_and_half_a_second(own_servers, leave, command):
    server = own_servers(command=command)
    with server.raw_generation(SLOW) as connection:
        server.wait_until_active()
        leave(connection)
        seconds = server.wait_for(lambda: server.health()["active_tasks"] == 0, "the cancel")
    assert seconds < STEP + 0.5
    assert server.generate().ok
    # Nobody waits in there any more either: such a server has nothing to finish.
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 5


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="The system cannot hang up on stalled clients.")
@pytest.mark.parametrize("command", [None, SERVE], ids=["gunicorn", "serve"])
def test_client_that_takes_nothing_of_its_answer_is_hung_up_on_and_a_slow_one_is_not(own_servers, command):
    server = own_servers(command=command, SEND_TIMEOUT="2")
    body = b'{"prompt": "[noise]", "n": 4, "num_inference_steps": 1, "size": "1024x1024", "add_overlay": false}'
    with server.raw_generation(body, receive_buffer=4096) as stalled, server.raw_generation(body) as slow:
        taken = 0
        for _ in range(12):
            taken += len(slow.recv(65536))
            time.sleep(0.5)
        whole = taken + received(slow)
        assert whole > 10 * 2**20
        assert received(stalled) < whole
    assert server.log.count("A client stopped reading its response; the connection was closed (SEND_TIMEOUT)") == 1


def received(connection):
    """Return how many bytes come until the server hangs up, or has sent four images and keeps the connection."""
    taken = 0
    connection.settimeout(3)
    with contextlib.suppress(OSError):
        while data := connection.recv(1 << 20):
            taken += len(data)
    return taken


@pytest.mark.alone
def test_client_that_leaves_while_it_waits_leaves_the_queue(quiet_server):
    running = quiet_server.start_generating("[step=0.1]", num_inference_steps=15)
    quiet_server.wait_until_active()
    with quiet_server.raw_generation(SLOW):
        quiet_server.wait_for(lambda: quiet_server.health()["queue_length"] == 1, "the queue")
    quiet_server.wait_for(lambda: quiet_server.health()["queue_length"] == 0, "an empty queue", 1)
    assert running.result(30).status_code == 200


@pytest.mark.fault(8)
def test_eight_requests_at_a_max_queue_of_four_are_four_images_and_four_429(own_servers):
    server = own_servers(MAX_QUEUE="4")
    start = threading.Barrier(8)

    def ask():
        start.wait()
        return server.generate("[step=0.05]", num_inference_steps=20)

    answers = [future.result(60) for future in [in_background(ask) for _ in range(8)]]
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 4
    for refusal in (answer for answer in answers if answer.status_code == 429):
        assert refusal.json()["code"] == "queue_full"
        assert "MAX_QUEUE" in refusal.json()["error"]
        assert 1 <= int(refusal.headers["Retry-After"]) <= 120


@pytest.mark.alone
@pytest.mark.fault(8)
def test_full_queue_says_so_within_50_ms(own_servers):
    server = own_servers(MAX_QUEUE="1")
    running = server.start_generating("[step=0.1]", num_inference_steps=20)
    server.wait_until_active()
    refusals = [server.generate() for _ in range(9)]
    assert {refusal.status_code for refusal in refusals} == {429}
    assert statistics.median(refusal.elapsed.total_seconds() for refusal in refusals) < 0.05
    assert running.result(30).status_code == 200


# Both with a server of their own: one that has learnt how long images take refuses what cannot be there in time.
@pytest.mark.alone
@pytest.mark.fault(9)
def test_deadline_passes_in_the_queue_not_after_the_running_job(own_server):
    running = own_server.start_generating("[step=0.1]", num_inference_steps=30)
    own_server.wait_until_active()
    began = time.monotonic()
    late = own_server.generate(timeout=0.5)
    seconds = time.monotonic() - began
    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
    assert "waiting in the queue" in late.json()["error"]
    assert 0.5 <= seconds < 1.2
    assert not running.done()
    assert running.result(30).status_code == 200


@pytest.mark.alone
def test_deadline_of_a_running_job_frees_the_device(own_server):
    late = own_server.generate("[step=0.1]", num_inference_steps=100, timeout=0.5)
    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
    assert "running" in late.json()["error"]
    assert own_server.wait_for(lambda: own_server.health()["active_tasks"] == 0, "a free device") < 1


@pytest.fixture(scope="module")
def small_server(servers):
    """A server that takes bodies of 10 KiB at most, and waits a second and a half for them."""
    return servers(MAX_BODY_MB="0.01", BODY_TIMEOUT="1.5")


@pytest.mark.fault(20)
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "chunked without a length"])
def test_body_over_the_limit_is_413(small_server, chunked):
    body = b'{"prompt": "' + b"x" * 50_000 + b'"}'
    response = small_server.post(iter([body[:100], body[100:]]) if chunked else body)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert "MAX_BODY_MB" in response.json()["error"]
    assert small_server.generate().ok


@pytest.mark.fault(20)
def test_endless_body_is_answered_before_it_ends(small_server):
    with small_server.connect() as connection:
        connection.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.fault(20)
def test_what_still_comes_of_an_endless_body_is_not_kept(small_server):
    assert small_server.generate().ok  # and all is imported
    processes = small_server.processes()
    with contextlib.ExitStack() as stack:
        idle, memory = sum(map(memory_of, processes)), stack.enter_context(PeakMemory(processes))
        connection = stack.enter_context(small_server.connect())
        connection.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        # The server may hang up on most of it.
        with contextlib.suppress(ConnectionError):
            for _ in range(32):
                connection.sendall(b"100000\r\n" + b"x" * 2**20 + b"\r\n")
    assert memory.peak - idle < 16


@pytest.mark.fault(20)
def test_of_bodies_and_messages_that_stay_unfinished_the_server_keeps_no_more_than_the_limit(own_servers):
    server, sent = own_servers(MAX_ARRIVING_MB="16", MAX_BODY_MB="2"), b"x" * 2**19
    head = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n"
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(200)]
        for client in clients:
            client.sendall(head + sent)
        assert server.generate().ok
        # Bodies of 32 have the limit together; some of them may still be on their way.
        server.wait_for(lambda: len(answered(clients)) >= 160, "the end of all others")
        assert all(client.recv(100).startswith(b"HTTP/1.1 408") for client in answered(clients))
        assert server.get("/livez").ok
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(contextlib.closing(web_socket_of(server))) for _ in range(48)]
        half = "x" * 2**19
        for each in sockets:
            # It may be cut before all of it is sent.
            with contextlib.suppress(ConnectionError, websocket.WebSocketException):
                each.send_frame(websocket.ABNF.create_frame(half, websocket.ABNF.OPCODE_TEXT, fin=0))
        server.wait_for(lambda: len(answered([each.sock for each in sockets])) >= 12, "the end of the others")
        assert server.generate().ok
    assert server.generate().ok


def answered(connections):
    """Return those that have something to read, or are closed."""
    return select.select(connections, [], [], 0)[0]


def web_socket_of(server):
    return websocket.create_connection(f"ws://127.0.0.1:{server.port}/ws/generate", timeout=20)


BEGUN = {
    "json": (b"application/json", b'{"prompt": "slo'),
    "form": (b"multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nslo'),
}


@pytest.mark.fault(20)
@pytest.mark.parametrize("kind", BEGUN)
@pytest.mark.parametrize("path", ["/generate", "/v1/images/edits", "/sdapi/v1/txt2img", "/models/fake"])
def test_a_body_that_does_not_arrive_is_given_up(small_server, path, kind):
    media, begun = BEGUN[kind]
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\n" % path.encode()
    head += b"Content-Type: %s\r\nContent-Length: 500\r\n\r\n" % media
    with small_server.connect() as connection:
        connection.settimeout(20)
        connection.sendall(head + begun)
        time.sleep(0.5)
        connection.sendall(b"w")  # a sign of life moves no deadline
        answer = b""
        while data := connection.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    if path == "/sdapi/v1/txt2img" and kind == "form":
        assert head.startswith(b"HTTP/1.1 4")
        return
    assert head.startswith(b"HTTP/1.1 408"), answer
    assert b"BODY_TIMEOUT" in body
    assert small_server.get("/livez").ok


@pytest.mark.fault(20)
def test_many_slow_bodies_keep_nobody_else_waiting(small_server):
    head = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{"
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(small_server.connect()).sendall(head)
        began = time.monotonic()
        assert small_server.get("/livez").ok
        assert small_server.generate().ok
        assert time.monotonic() - began < 10
    assert small_server.generate().ok
