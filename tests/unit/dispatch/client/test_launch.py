"""A dispatcher is started once, watched by its workers, and ended with its server, also when it hangs."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import psutil
import pytest

from imageserver.dispatch.client import launch, watchdog
from imageserver.dispatch.client.client import DispatchClient
from imageserver.dispatch.client.runtime_dir import RuntimeDir, process_lives
from imageserver.errors import EngineUnavailable
from imageserver.protocol.channel import Address
from imageserver.protocol.framing import LENGTHS, MAX_HELLO_BYTES, pack
from imageserver.protocol.messages import CancelJob, Hello
from imageserver.settings import Settings

SETTINGS = Settings(_env_file=None, engine_module="tests.support.fake_engine", log_level="ERROR")
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"


@pytest.fixture
def runtime_dir():
    runtime_dir = RuntimeDir(os.getpid())
    yield runtime_dir
    launch.stop(runtime_dir)


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_dispatcher_is_started_once_found_by_the_next_and_stopped_even_while_it_is_stopped(runtime_dir):
    links = [launch.connect_or_start(runtime_dir, SETTINGS) for _ in range(2)]
    [pid] = {pid for _, pid in links}
    for channel, _ in links:
        assert channel.receive()[0].dispatcher_pid == pid
        channel.close()
    os.kill(pid, signal.SIGSTOP)
    launch.stop(runtime_dir)
    assert not process_lives(pid)
    assert not runtime_dir.address_file.exists(), "it was woken and ended by itself"


@pytest.mark.fault(45)
@pytest.mark.parametrize(
    "frame",
    [
        LENGTHS.pack(MAX_HELLO_BYTES + 1, 0),
        pack(Hello(role="worker", key="wrong", pid=1), 2**32 - 1),
        pack(CancelJob(job=1, wanted=1)),
    ],
    ids=["long message", "4 GB", "another message"],
)
def test_a_peer_that_has_not_shown_its_key_is_hung_up_on_before_it_sends_more(runtime_dir, frame):
    channel, _ = launch.connect_or_start(runtime_dir, SETTINGS)
    address, _ = runtime_dir.read()
    with address.connect() as peer:
        peer.settimeout(5)
        peer.sendall(frame)
        assert peer.recv(1) == b""
    channel.close()


def start_deaf(*arguments):
    """Start a process that ignores SIGTERM."""
    process = subprocess.Popen([sys.executable, "-S", "-c", DEAF, *arguments], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"\n"
    return process


@pytest.mark.fault(44)
def test_a_dispatcher_that_hangs_is_killed_with_its_server_but_no_other_process_that_has_its_id(runtime_dir):
    with start_deaf("imageserver.dispatch", str(os.getpid())) as hung, start_deaf() as stranger:
        for process in (hung, stranger):
            runtime_dir.write(Address(path="nowhere", port=None, key=""), process.pid)
            launch.stop(runtime_dir, timeout=0.1)
        assert hung.wait(5) == -signal.SIGKILL
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("has_address", [True, False])
def test_a_dispatcher_that_hangs_is_killed_before_another_one_is_started(runtime_dir, has_address, monkeypatch):
    monkeypatch.setattr(launch, "PUBLISH_TIMEOUT_SECONDS", 0.1)
    with start_deaf("imageserver.dispatch", str(os.getpid())) as hung:
        if has_address:
            runtime_dir.write(Address(path="nowhere", port=None, key=""), hung.pid)
        channel, pid = launch.connect_or_start(runtime_dir, SETTINGS)
        channel.close()
        assert (hung.wait(5), process_lives(pid)) == (-signal.SIGKILL, True)


def test_a_dispatcher_whose_start_takes_twice_its_time_is_waited_for_and_not_killed(runtime_dir, monkeypatch):
    clock = SimpleNamespace(now=0.0)

    def sleep(seconds):
        clock.now += seconds

    def connect(_):
        if clock.now < 1.9 * launch.START_TIMEOUT_SECONDS:
            raise FileNotFoundError
        return "channel", os.getpid()

    started = SimpleNamespace(stdin=io.BytesIO(), wait=lambda: 0)
    monkeypatch.setattr(launch, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep))
    monkeypatch.setattr(launch, "connect", connect)
    monkeypatch.setattr(launch, "dispatchers_of", lambda owner: [os.getpid()] if started.stdin.closed else [])
    monkeypatch.setattr(launch.subprocess, "Popen", lambda *_, **__: started)
    with pytest.raises(FileNotFoundError):
        launch.connect_or_start(runtime_dir, SETTINGS)
    monkeypatch.setattr(launch, "_start", lambda *_: pytest.fail("a second dispatcher"))
    assert launch.connect_or_start(runtime_dir, SETTINGS) == ("channel", os.getpid())


def test_a_hung_dispatcher_that_has_outlived_its_server_is_killed_by_the_next_server(runtime_dir):
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as owner:
        owner.wait()
        with start_deaf("imageserver.dispatch", str(owner.pid)) as hung:
            RuntimeDir(owner.pid).write(Address(path="nowhere", port=None, key=""), hung.pid)
            runtime_dir.remove_stale()
            assert hung.wait(5) == -signal.SIGKILL


@pytest.mark.fault(44)
def test_a_stopped_dispatcher_is_degraded_then_replaced_and_gets_no_work_meanwhile(runtime_dir, monkeypatch):
    monkeypatch.setattr(watchdog, "SILENT_SECONDS", 2.0)
    monkeypatch.setattr(watchdog, "REPLACE_SECONDS", 5.0)
    monkeypatch.setattr("imageserver.dispatch.client.client.LINK_TIMEOUT_SECONDS", 0.5)
    client = DispatchClient(SETTINGS, runtime_dir)
    client.start()
    try:
        wait_for(lambda: client.snapshot is not None and client.snapshot.state == "healthy")
        first, engine = client.snapshot.dispatcher_pid, client.snapshot.engine_pid
        os.kill(first, signal.SIGSTOP)
        wait_for(lambda: client.snapshot.state == "degraded")
        assert "no sign of life" in client.snapshot.reason
        with pytest.raises(EngineUnavailable):
            client.jobs(CancelJob(job=1, wanted=1))
        wait_for(lambda: client.snapshot is not None and client.snapshot.dispatcher_pid != first)
        wait_for(lambda: client.snapshot.state == "healthy")
        assert client.jobs(CancelJob(job=2, wanted=1)) == ()
        assert not process_lives(first)
        wait_for(lambda: not psutil.pid_exists(engine))
    finally:
        client.close()
    wait_for(lambda: not any(thread.name.startswith("dispatcher-") for thread in threading.enumerate()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it detaches itself by forking")
def test_a_dispatcher_whose_worker_was_killed_before_it_sent_the_settings_ends_without_a_word():
    # Its detached half keeps the pipes open until it ends.
    command = [sys.executable, "-m", "imageserver.dispatch", str(os.getpid())]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
