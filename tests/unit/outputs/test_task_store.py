"""Tasks on disk: each has one owner at a time, none is lost, and they expire."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from imageserver.errors import StorageFull
from imageserver.outputs.state import FILE
from imageserver.outputs.task_store import MAX_ATTEMPTS
from tests.support.factories import task_store

# As an owner that has ended leaves it.
NOBODY = "0" * 32


@pytest.fixture
def store(tmp_path):
    return task_store(tmp_path)


def change(folder, statement, *values):
    with closing(sqlite3.connect(folder / FILE)) as database, database:
        return database.execute(statement, values).fetchall()


def orphan(folder, task_id, owner=NOBODY):
    change(folder, "UPDATE tasks SET owner = ? WHERE task_id = ?", owner, task_id)


def add(store, **fields):
    return store.add(**({"number": 7, "credential": "", "wanted": "{}", "warnings": ["w"]} | fields))


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


def test_only_tasks_that_nobody_follows_are_adopted_and_only_once(store, tmp_path):
    other = task_store(tmp_path)
    add(store), add(other)
    lost = add(store)
    store.start(lost.task_id)
    orphan(tmp_path, lost.task_id)
    [adopted] = store.adopt(lambda: 8)
    assert other.adopt(lambda: 9) == store.adopt(lambda: 9) == []
    assert (adopted.task_id, adopted.number, adopted.state, adopted.attempts) == (lost.task_id, 8, "queued", 2)


@pytest.mark.parametrize(
    "owner", [str(os.getpid()), f"process {os.getpid()}", "?"], ids=["a process id", "named", "unknown"]
)
def test_a_task_whose_owner_no_lock_proves_is_adopted(store, tmp_path, owner):
    task = add(store)
    orphan(tmp_path, task.task_id, owner)
    assert [adopted.task_id for adopted in task_store(tmp_path).adopt(lambda: 8)] == [task.task_id]


def test_a_task_that_its_own_worker_follows_no_longer_is_adopted_by_it(store):
    followed, lost = add(store), add(store)
    store.unfollow(lost.task_id)
    assert [adopted.task_id for adopted in store.adopt(lambda: 8)] == [lost.task_id]
    store.unfollow(followed.task_id)
    assert [adopted.task_id for adopted in store.adopt(lambda: 8)] == [followed.task_id]


def test_a_task_that_loses_too_many_owners_fails(store):
    task = add(store)
    for _ in range(MAX_ATTEMPTS - 1):
        store.unfollow(task.task_id)
        assert len(store.adopt(lambda: 8)) == 1
    store.unfollow(task.task_id)
    assert store.adopt(lambda: 8) == []
    assert store.find(task.task_id, "").code == "engine_unavailable"


def test_a_task_that_was_released_may_wait_for_ever(store):
    task = add(store)
    for _ in range(3 * MAX_ATTEMPTS):
        store.release(task.task_id)
        assert [adopted.attempts for adopted in store.adopt(lambda: 8)] == [1]


def test_a_late_release_takes_no_task_from_its_new_owner(store, tmp_path):
    task, other = add(store), task_store(tmp_path)
    orphan(tmp_path, task.task_id)
    assert len(other.adopt(lambda: 8)) == 1
    store.release(task.task_id)
    assert task_store(tmp_path).adopt(lambda: 9) == []


def test_a_credential_finds_only_its_own_tasks(store):
    task = add(store, credential="ann")
    assert store.find(task.task_id, "ann") is not None
    assert store.find(task.task_id, "bob") is None
    assert store.find(task.task_id, "") is not None


def test_an_ended_task_keeps_no_prompt(store):
    for end in (complete, lambda store, task_id: store.fail(task_id, code="cancelled", sentence="x")):
        task = add(store, wanted="a secret prompt")
        assert store.find(task.task_id, "").wanted == "a secret prompt"
        end(store, task.task_id)
        assert store.find(task.task_id, "").wanted == ""


def test_ended_tasks_lose_their_results_and_then_their_rows(store, tmp_path, monkeypatch):
    task, open_one = add(store), add(store)
    complete(store, task.task_id)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 101)
    for _ in range(2):
        expired = store.find(task.task_id, "")
        assert (expired.state, expired.wanted, expired.files) == ("expired", "", ())
        store.maintain()
    assert store.find(open_one.task_id, "").state == "queued"
    monkeypatch.setattr(time, "time", lambda: now + 801)
    store.maintain()
    assert store.find(task.task_id, "") is None


def test_of_too_many_ended_tasks_the_oldest_go_with_their_webhooks(tmp_path):
    store = task_store(tmp_path, max_ended=3)
    tasks = [add(store, webhook=("http://receiver.example/", "http://here/")) for _ in range(6)]
    for task in tasks[:5]:
        complete(store, task.task_id)
    store.maintain()
    assert [store.find(task.task_id, "") is not None for task in tasks] == [False, False, True, True, True, True]
    assert change(tmp_path, "SELECT COUNT(*) FROM webhooks") == [(4,)]


def test_tasks_that_take_too_much_space_go_and_the_file_shrinks(tmp_path):
    store = task_store(tmp_path, max_mb=2)
    for _ in range(80):
        store.fail(add(store).task_id, code="x", sentence="x" * 100_000)
    [open_one, newest] = [add(store), add(store)]
    complete(store, newest.task_id)
    grown = (tmp_path / FILE).stat().st_size
    store.maintain()
    kept = sum(file.stat().st_size for file in tmp_path.glob(f"{FILE}*"))
    assert kept < 3 * 2**20 < grown
    assert store.find(open_one.task_id, "").state == "queued"
    assert store.find(newest.task_id, "").state == "completed"


def test_a_full_disk_is_an_obstacle_until_there_is_room(store, monkeypatch):
    store.maintain()
    assert store.obstacle == ""
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(folder)._replace(free=1000))
    store.maintain()
    assert "full" in store.obstacle
    monkeypatch.undo()
    store.maintain()
    assert store.obstacle == ""


def test_what_could_not_be_written_is_an_obstacle_until_it_can(store, tmp_path, monkeypatch):
    monkeypatch.setattr("imageserver.outputs.state.BUSY_SECONDS", 0.05)
    store.maintain()
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageFull, match="locked"):
            add(store)
        store.maintain()
        assert "locked" in store.obstacle
        # Those who only read need not wait.
        assert store.count_open() == 0
    store.maintain()
    assert store.obstacle == ""


RUN = (
    "from pathlib import Path\nimport itertools, random, sys\nfrom tests.support.factories import task_store\n"
    "store, random = task_store(Path(sys.argv[1])), random.Random(int(sys.argv[2]))\nprint('ready', flush=True)\n"
    "for _ in itertools.count():\n"
    " task = store.add(number=1, credential='', wanted='{}', warnings=[])\n"
    " print('+' + task.task_id, flush=True)\n"
    " for task in [task, *store.adopt(lambda: 2)]:\n"
    "  store.start(task.task_id)\n"
    "  if random.random() < 0.8:\n"
    "   store.complete(task.task_id, files=[], seeds=(), processing_time=1, warnings=[])\n"
    "   print('-' + task.task_id, flush=True)\n"
)


def run_until_killed(folder, seed, reports, after):
    """Return what a worker reported until it was killed `after` seconds after so many lines: accepted and ended."""
    with subprocess.Popen([sys.executable, "-c", RUN, str(folder), str(seed)], stdout=subprocess.PIPE) as worker:
        assert worker.stdout.readline() == b"ready\n"
        first = b"".join(worker.stdout.readline() for _ in range(reports))
        time.sleep(after)
        worker.kill()
        lines = (first + worker.stdout.read()).decode().splitlines(keepends=True)
    # The kill may cut the last line.
    whole = [line.strip() for line in lines if line.endswith("\n")]
    return [{line[1:] for line in whole if line[0] == mark} for mark in "+-"]


@pytest.mark.fault(17)
def test_no_task_that_was_accepted_is_lost_or_ends_twice_whenever_its_worker_is_killed(tmp_path):
    rounds, accepted, ended = (200 if os.environ.get("QIS_FULL") else 6), set(), set()
    for seed in range(rounds):
        # In every second round at a moment when a task has been accepted, however slow the machine is.
        news = run_until_killed(tmp_path, seed, seed % 2, random.Random(seed).uniform(0, 0.1))
        accepted |= news[0]
        # None of them was adopted again.
        assert not news[1] & ended
        ended |= news[1]
    store = task_store(tmp_path)
    last_ones = {task.task_id for task in store.adopt(lambda: 2)}
    for task_id in last_ones:
        complete(store, task_id)
    assert not last_ones & ended
    states = {task_id: store.find(task_id, "") for task_id in accepted}
    assert {task and task.state for task in states.values()} <= {"completed", "failed"}
    assert len(accepted) >= rounds // 2
    assert store.count_open() == 0
    assert change(tmp_path, "PRAGMA integrity_check") == [("ok",)]


def test_open_tasks_are_counted_for_all_and_for_one_credential(store):
    for credential in ("ann", "ann", "bob"):
        add(store, credential=credential)
    complete(store, add(store, credential="bob").task_id)
    assert [store.count_open(credential) for credential in ("", "ann", "bob", "eve")] == [3, 2, 1, 0]
