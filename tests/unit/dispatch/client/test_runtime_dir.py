"""Where the processes of one server meet, and that others stay out."""

import os
import signal
import stat
import subprocess
import sys
import tempfile

import pytest

from imageserver.dispatch.client import launch
from imageserver.dispatch.client.runtime_dir import RuntimeDir, process_lives
from imageserver.protocol.channel import Address
from imageserver.settings import Settings


@pytest.fixture
def ended():
    """A process id that no process has."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


ADDRESS = Address(path="/run/x.sock", port=None, key="secret")


def test_what_is_written_is_read_by_this_user_alone():
    runtime_dir = RuntimeDir(os.getpid())
    runtime_dir.write(ADDRESS, 77)
    assert runtime_dir.read() == (ADDRESS, 77)
    assert stat.S_IMODE(runtime_dir.address_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(runtime_dir.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"path": 1}', '{"path":null,"port":1,"key":"k","pid":"x"}'])
def test_broken_address_file_counts_as_none(content):
    runtime_dir = RuntimeDir(os.getpid())
    runtime_dir.address_file.write_text(content)
    with pytest.raises(OSError):
        runtime_dir.read()


def test_two_servers_have_nothing_in_common():
    first, second = RuntimeDir(1), RuntimeDir(2)
    files = {
        getattr(place, name) for place in (first, second) for name in ("address_file", "launch_lock", "socket_path")
    }
    assert len(files) == 6


def test_files_of_dead_servers_are_swept_and_those_of_living_ones_stay(ended):
    dead, alive = RuntimeDir(ended), RuntimeDir(os.getpid())
    for runtime_dir in (dead, alive):
        runtime_dir.write(ADDRESS, 77)
    alive.remove_stale()
    assert not dead.address_file.exists()
    assert alive.address_file.exists()
    alive.remove()
    assert not alive.address_file.exists()


def test_files_of_an_earlier_server_with_the_same_process_id_are_swept():
    runtime_dir = RuntimeDir(os.getpid())
    for file in (runtime_dir.model_file(0), runtime_dir.launch_lock):
        file.touch()
    runtime_dir.remove_stale()
    assert runtime_dir.model_file(0).exists()
    for file in (runtime_dir.model_file(0), runtime_dir.launch_lock):
        os.utime(file, (0, 0))
    runtime_dir.remove_stale()
    assert not runtime_dir.model_file(0).exists(), "a container gives every server the same id"
    assert runtime_dir.launch_lock.exists(), "a process may hold it"


def test_folder_of_somebody_else_is_not_trusted(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PermissionError, match="TMPDIR"):
        _ = RuntimeDir(1).folder


def test_a_link_in_place_of_the_folder_is_not_followed():
    place = RuntimeDir(1).folder
    elsewhere = place.rename(place.with_name("elsewhere"))
    place.symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(PermissionError, match="TMPDIR"):
        _ = RuntimeDir(1).folder


@pytest.mark.skipif(sys.platform == "win32", reason="there are no Unix sockets")
def test_a_folder_that_is_too_deep_for_a_socket_or_somebody_elses_ends_the_start_with_a_sentence(tmp_path, monkeypatch):
    RuntimeDir(1).require(has_store=True)
    deep = tmp_path / ("x" * 90)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(SystemExit, match="too long for a Unix socket; set TMPDIR"):
        RuntimeDir(1).require(has_store=False)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(SystemExit, match="belongs to somebody else"):
        RuntimeDir(1).require(has_store=False)


def test_ended_process_lives_no_more_even_before_it_is_reaped(ended):
    assert process_lives(os.getpid())
    assert not process_lives(ended)
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    assert process_lives(process.pid)
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not process_lives(process.pid)
    process.wait()


def test_no_dispatcher_is_started_for_a_server_that_is_gone(ended):
    with pytest.raises(ConnectionError, match="gone"):
        launch.connect_or_start(RuntimeDir(ended), Settings(_env_file=None))


def test_launch_that_another_process_never_finishes_is_given_up(monkeypatch):
    from filelock import FileLock

    monkeypatch.setattr(launch, "START_TIMEOUT_SECONDS", 0.1)
    runtime_dir = RuntimeDir(os.getpid())
    with FileLock(runtime_dir.launch_lock, is_singleton=False), pytest.raises(TimeoutError, match="does not finish"):
        launch.connect_or_start(runtime_dir, Settings(_env_file=None))
