"""The state folder's faults: a full disk, a locked and a damaged database (41, 42), the same process id (40)."""

import contextlib
import os
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.server import GUNICORN, Server

# A file system of 16 MiB that only this server sees.
ON_SMALL_DISK = [
    "unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
    'mkdir -p "$STATE_DIR" && mount -t tmpfs -o size=16m tmpfs "$STATE_DIR" && exec "$@"', "sh",
]  # fmt: skip
# As in a container, every start has the same process ids.
IN_A_CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]


def skip_unless_possible(prefix, folder):
    environment = os.environ | {"STATE_DIR": str(folder / "probe")}
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run([*prefix, "true"], env=environment, stderr=subprocess.DEVNULL).returncode == 0:
            return
    pytest.skip("This machine lets no user make namespaces (unshare).")


def submit(server, prompt="a task", **fields):
    body = {"prompt": prompt, "resolution": "64x64", "num_inference_steps": 3, "seed": None} | fields
    return server.ask("POST", "/submit", json=body, timeout=20)


def state(server, task_id):
    return server.get(f"/status/{task_id}").json().get("status")


def wait_for_all(server, task_ids):
    for task_id in task_ids:
        server.wait_for(lambda task_id=task_id: state(server, task_id) == "completed", "completed", 30)


@pytest.mark.fault(41)
def test_a_disk_that_is_full_when_tasks_end_costs_none_of_them_and_stops_nothing_else(own_servers, tmp_path):
    skip_unless_possible(ON_SMALL_DISK, tmp_path)
    server = own_servers(command=[*ON_SMALL_DISK, *GUNICORN], CACHE_MAX_MB="0")
    filler = Path(f"/proc/{server.process.pid}/root{server.folder / 'state' / 'filler'}")
    tasks = [submit(server, f"[step=0.3] {number}").json()["task_id"] for number in range(3)]
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    server.wait_for(lambda: server.health()["status"] == "degraded", "the notice that the disk is full")
    assert "full" in server.health()["reason"]
    ready = server.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    server.wait_until_idle()
    refused = submit(server)
    assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
    # More than were reserved.
    ids = {server.get("/v1/models").headers["X-Request-Id"] for _ in range(150)}
    assert len(ids) == 150
    assert server.generate().ok
    filler.unlink()
    wait_for_all(server, tasks)
    server.wait_for(lambda: server.get("/readyz").json()["status"] == "healthy", "the notice that there is room")
    assert submit(server).ok


@pytest.mark.fault(42)
@pytest.mark.fault(41)
def test_a_damaged_database_is_set_aside_at_the_start_and_a_locked_one_loses_no_task_that_ends(own_servers, tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "state.sqlite").write_bytes(b"no database" * 1000)
    server = own_servers(STATE_DIR=str(folder))
    assert server.log.count("The state database was damaged") == 1
    tasks = [submit(server, f"[step=0.3] {number}").json()["task_id"] for number in range(2)]
    with closing(sqlite3.connect(folder / "state.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        server.wait_until_idle()
        # Longer than any statement waits.
        time.sleep(3.0)
        assert {state(server, task_id) for task_id in tasks} <= {"queued", "processing"}
        assert server.get("/readyz").json()["status"] == "degraded"
        assert server.generate().ok
    wait_for_all(server, tasks)


@pytest.mark.fault(40)
def test_a_container_that_is_restarted_goes_on_with_its_tasks(own_servers, tmp_path):
    skip_unless_possible(IN_A_CONTAINER, tmp_path)
    folders = {"STATE_DIR": str(tmp_path / "state"), "OUTPUT_DIR": str(tmp_path / "tmp"), "TMPDIR": str(tmp_path)}
    command = [*IN_A_CONTAINER, *GUNICORN]
    server = own_servers(command=command, **folders)
    tasks = [submit(server, f"[step=0.2] {number}", num_inference_steps=10).json()["task_id"] for number in range(3)]
    server.process.kill()
    server.process.wait()
    again = own_servers(command=command, **folders)
    wait_for_all(again, tasks)
    # unshare passes no signal on.
    again.process.kill()


@pytest.mark.fault(42)
def test_a_database_that_cannot_be_used_ends_the_start_with_one_sentence(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "state.sqlite")) as database:
        database.execute("PRAGMA user_version = 1000")
    server = Server(tmp_path)
    assert server.process.wait(20) != 0
    assert server.log.count("newer version of qwen-image-server") == 1
    assert "Traceback" not in server.log
