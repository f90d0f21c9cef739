"""Tasks on disk: each has one owner at a time, none is lost, and they expire."""

import os
import sqlite3
import subprocess
import sys
import time

import pytest

from imageserver.outputs.task_store import MAX_ATTEMPTS, TaskStore

HERE, GONE = 1, 2


def lives(owner: int) -> bool:
    return owner == HERE


@pytest.fixture
def store(tmp_path):
    return TaskStore(tmp_path, ttl=100)


def add(store, **fields):
    return store.add(**({"number": 7, "credential": "", "wanted": "{}", "owner": HERE, "warnings": ["w"]} | fields))


def complete(store, task_id):
    store.complete(task_id, files=["a.png"], seeds=(3,), processing_time=1.5, warnings=[])


def test_a_task_goes_from_queued_to_completed_and_no_further(store):
    task = add(store)
    assert (task.state, task.number, task.warnings, task.attempts) == ("queued", 7, ("w",), 1)
    store.start(task.task_id)
    assert store.find(task.task_id, "").state == "processing"
    complete(store, task.task_id)
    store.fail(task.task_id, code="late", sentence="Too late.")
    done = store.find(task.task_id, "")
    assert (done.state, done.files, done.seeds, done.processing_time, done.owner) == (
        "completed", ("a.png",), (3,), 1.5, None,
    )  # fmt: skip


def test_cancelled_and_failed_are_told_apart(store):
    for code, state in (("cancelled", "cancelled"), ("generation_failed", "failed")):
        task = add(store)
        store.fail(task.task_id, code=code, sentence="A sentence.")
        assert store.find(task.task_id, "").state == state


def test_only_tasks_of_dead_owners_are_adopted_and_only_once(store, tmp_path):
    add(store)
    lost = add(store, owner=GONE)
    store.start(lost.task_id)
    other = TaskStore(tmp_path, ttl=100)
    [adopted] = store.adopt(HERE, lives, lambda: 8)
    assert other.adopt(HERE, lives, lambda: 9) == []
    assert (adopted.task_id, adopted.number, adopted.state, adopted.attempts) == (lost.task_id, 8, "queued", 2)


def test_a_task_that_loses_too_many_owners_fails(store):
    task = add(store, owner=GONE)
    for _ in range(MAX_ATTEMPTS - 1):
        assert len(store.adopt(GONE, lives, lambda: 8)) == 1
    assert store.adopt(GONE, lives, lambda: 8) == []
    assert store.find(task.task_id, "").code == "engine_unavailable"


def test_a_task_that_was_released_may_wait_for_ever(store):
    task = add(store)
    for _ in range(3 * MAX_ATTEMPTS):
        store.release(task.task_id)
        assert [adopted.attempts for adopted in store.adopt(HERE, lives, lambda: 8)] == [1]


def test_a_credential_finds_only_its_own_tasks(store):
    task = add(store, credential="ann")
    assert store.find(task.task_id, "ann") is not None
    assert store.find(task.task_id, "bob") is None
    assert store.find(task.task_id, "") is not None


def test_finished_tasks_lose_their_prompt_and_then_their_tombstone(tmp_path, monkeypatch):
    store = TaskStore(tmp_path, ttl=100)
    task, open_one = add(store, wanted="a secret prompt"), add(store)
    complete(store, task.task_id)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 101)
    expired = store.find(task.task_id, "")
    assert (expired.state, expired.wanted, expired.files) == ("expired", "", ())
    assert store.find(open_one.task_id, "").state == "queued"
    monkeypatch.setattr(time, "time", lambda: now + 801)
    assert store.find(task.task_id, "") is None


def test_a_store_that_was_killed_while_it_wrote_opens_again(tmp_path):
    program = (
        "from pathlib import Path\nimport os, sys\nfrom imageserver.outputs.task_store import TaskStore\n"
        "store = TaskStore(Path(sys.argv[1]), ttl=100)\nprint('ready', flush=True)\n"
        "while True:\n store.add(number=1, credential='', wanted='{}', owner=os.getpid(), warnings=[])\n"
        " print('added', flush=True)"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": "."}
    )
    assert writer.stdout.readline() == b"ready\n"
    for _ in range(20):
        assert writer.stdout.readline() == b"added\n"
    writer.kill()
    writer.wait()
    writer.stdout.close()
    store = TaskStore(tmp_path, ttl=100)
    with sqlite3.connect(tmp_path / "state.sqlite") as database:
        [found] = database.execute("SELECT COUNT(*) FROM tasks").fetchone()
        assert found > 0
        assert len(store.adopt(HERE, lives, lambda: 2)) == found
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
