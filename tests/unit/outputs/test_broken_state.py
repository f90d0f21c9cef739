"""A state database that is damaged, locked, deleted or full stops no server, and tasks go on when it can be used."""

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from imageserver.api.wsgi.request_ids import BLOCK, RequestIds
from imageserver.errors import StorageFull
from imageserver.outputs import state, state_check
from imageserver.outputs.state import DAMAGED, FILE, StateDatabase
from imageserver.outputs.state_check import check_state
from tests.support.factories import task_store

DAMAGES = {
    "garbage": lambda content: b"no database" * 10_000,
    "truncated": lambda content: content[: len(content) // 2],
    "a damaged middle": lambda content: content[:4096] + b"\xff" * 8192 + content[12288:],
    "a damaged header": lambda content: b"\0" * 100 + content[100:],
}


def fill(folder):
    """Store a hundred tasks and return the last request id."""
    tasks, ids = task_store(folder), RequestIds(folder)
    for _ in range(20):
        tasks.add(number=1, credential="", wanted="x" * 1000, warnings=[])
    number = ids.next_id()
    check_state(folder)
    return number


def damage(folder, how):
    for suffix in ("-wal", "-shm"):
        (folder / (FILE + suffix)).unlink(missing_ok=True)
    file = folder / FILE
    file.write_bytes(DAMAGES[how](file.read_bytes()))


@pytest.mark.fault(42)
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_database_is_set_aside_with_one_sentence_and_ids_go_on(tmp_path, how):
    number = fill(tmp_path)
    damage(tmp_path, how)
    assert check_state(tmp_path) == (
        f"WARNING The state database was damaged: it is now {DAMAGED}, and its tasks are lost."
    )
    assert (tmp_path / DAMAGED).exists()
    assert RequestIds(tmp_path).next_id() > number + BLOCK
    assert task_store(tmp_path).count_open() == 0
    assert check_state(tmp_path) == ""


def test_a_second_damage_replaces_what_was_set_aside(tmp_path):
    for _ in range(2):
        fill(tmp_path)
        damage(tmp_path, "garbage")
        assert "damaged" in check_state(tmp_path)
    assert len([file for file in tmp_path.iterdir() if DAMAGED in file.name]) == 1


@pytest.mark.parametrize("how", ["garbage", "deleted"])
def test_what_happens_while_workers_run_costs_the_tasks_and_no_worker(tmp_path, how):
    tasks, ids = task_store(tmp_path), RequestIds(tmp_path)
    before = ids.next_id()
    lost = tasks.add(number=1, credential="", wanted="{}", warnings=[])
    if how == "garbage":
        StateDatabase(tmp_path).execute("PRAGMA wal_checkpoint(TRUNCATE)")
        damage(tmp_path, how)
    else:
        for file in tmp_path.glob(f"{FILE}*"):
            file.unlink()
    # A new worker, because SQLite keeps what it has read.
    kept = task_store(tmp_path).add(number=1, credential="", wanted="{}", warnings=[])
    assert tasks.find(kept.task_id, "") == kept
    assert tasks.find(lost.task_id, "") is None
    news = [ids.next_id() for _ in range(2 * BLOCK)]
    assert before not in news
    assert RequestIds(tmp_path).next_id() > max(news)


def test_a_database_that_another_program_has_locked_ends_the_start_with_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(state_check, "LOCKED_SECONDS", 0.2)
    check_state(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SystemExit, match=r"^STATE_DIR=.* is locked by another program\.$"):
            check_state(tmp_path)
    assert check_state(tmp_path) == ""


def test_a_short_lock_at_the_start_is_waited_for(tmp_path):
    check_state(tmp_path)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, other.close).start()
    assert check_state(tmp_path) == ""


def test_a_worker_that_starts_during_a_lock_serves_and_stores_tasks_later(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "BUSY_SECONDS", 0.05)
    check_state(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ids, tasks = RequestIds(tmp_path), task_store(tmp_path)
        numbers = [ids.next_id() for _ in range(50)]
        assert len(set(numbers)) == 50
        assert max(numbers) < 2**53
        with pytest.raises(StorageFull):
            tasks.add(number=1, credential="", wanted="{}", warnings=[])
    assert tasks.add(number=1, credential="", wanted="{}", warnings=[]).state == "queued"


def test_ids_of_the_clock_differ_between_processes_and_from_those_of_the_counter(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "BUSY_SECONDS", 0.0)
    check_state(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        first, second = RequestIds(tmp_path), RequestIds(tmp_path)
        numbers = [first.next_id() for _ in range(1000)]
        monkeypatch.setattr("os.getpid", lambda: 4711)
        numbers += [second.next_id() for _ in range(1000)]
    numbers += [RequestIds(tmp_path).next_id() for _ in range(3)]
    assert len(set(numbers)) == 2003


def test_workers_share_no_id_across_blocks(tmp_path):
    first, second = RequestIds(tmp_path), RequestIds(tmp_path)
    numbers = [ids.next_id() for _ in range(3 * BLOCK) for ids in (first, second)]
    assert len(set(numbers)) == 6 * BLOCK
    assert max(numbers) < 10 * BLOCK


WAIT = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent, sys, time
from pathlib import Path
from imageserver.errors import StorageFull
from tests.support.factories import task_store
tasks = task_store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
pauses, last = [], time.monotonic()
waiting = [gevent.spawn(tasks.add, number=1, credential="", wanted="{}", warnings=[]) for _ in range(50)]
while not all(greenlet.ready() for greenlet in waiting):
    gevent.sleep(0.001)
    now = time.monotonic()
    pauses, last = [*pauses, now - last], now
print(sum(greenlet.successful() for greenlet in waiting), sorted(pauses)[int(0.99 * len(pauses))], flush=True)
"""


@pytest.mark.fault(42)
def test_a_locked_database_keeps_no_other_client_waiting(tmp_path):
    task_store(tmp_path).count_open()
    command = [sys.executable, "-c", WAIT, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other,
        subprocess.Popen(command, **pipes) as worker,
    ):
        assert worker.stdout.readline() == "ready\n"
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        print(file=worker.stdin, flush=True)
        time.sleep(1.0)
        other.rollback()
        stored, pause = worker.stdout.readline().split()
        waited = time.monotonic() - began
    assert int(stored) == 50
    # The tasks waited for the lock, the loop did not.
    assert float(pause) < waited / 10
