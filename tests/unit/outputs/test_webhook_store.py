"""Webhooks on disk: due when the task has ended, one worker's at a time, and gone with the task."""

import sqlite3
import time

import pytest

from imageserver.errors import StorageFull
from imageserver.outputs.state import StateDatabase
from imageserver.outputs.webhook_store import WebhookStore
from tests.support.factories import task_store

SYNCHRONOUS_FULL = 2
URL = "http://receiver.example/hook?password"


@pytest.fixture
def tasks(tmp_path):
    return task_store(tmp_path)


@pytest.fixture
def store(tasks, tmp_path):
    return WebhookStore(tmp_path)


def add(tasks):
    return tasks.add(number=7, credential="", wanted="{}", warnings=[], webhook=(URL, "http://here/")).task_id


def claim(store, now=10.0):
    claimed = [store.claim(due, now, lease=20) for due in store.due(now, most_of_a_host=10)]
    return [webhook for webhook in claimed if webhook is not None]


def test_a_webhook_is_due_when_its_task_has_ended_however_it_did(tasks, store):
    names = [add(tasks) for _ in range(4)]
    assert claim(store) == []
    tasks.start(names[0])
    assert claim(store) == []
    tasks.complete(names[0], files=[], seeds=(), processing_time=1, warnings=[])
    tasks.fail(names[1], code="cancelled", sentence="x")
    tasks.fail(names[2], code="generation_failed", sentence="x")
    assert {webhook.task_id for webhook in claim(store)} == set(names[:3])
    assert store.find(names[3]).attempts == 0


def test_only_one_worker_gets_it_until_the_lease_is_over(tasks, store, tmp_path):
    name = add(tasks)
    tasks.fail(name, code="cancelled", sentence="x")
    other = WebhookStore(tmp_path)
    [webhook] = claim(store)
    assert (webhook.url, webhook.site, webhook.attempts, webhook.state) == (URL, "http://here/", 1, "waiting")
    assert claim(other) == claim(store) == []
    [due] = store.due(31.0, most_of_a_host=10)
    assert other.claim(due, 31.0, lease=0) is not None
    assert store.claim(due, 31.0, lease=20) is None, "the other one was faster"
    assert [webhook.attempts for webhook in claim(other, now=31.0)] == [3]


def test_what_failed_is_due_again_at_its_time_and_what_ended_never(tasks, store):
    names = [add(tasks) for _ in range(3)]
    for name in names:
        tasks.fail(name, code="cancelled", sentence="x")
    assert len(claim(store)) == 3
    store.postpone(names[0], due=50.0, error="It answered 500.")
    store.deliver(names[1])
    store.give_up(names[2], error="It answered 404.")
    assert claim(store, now=49.0) == []
    assert [webhook.error for webhook in claim(store, now=50.0)] == ["It answered 500."]
    assert (store.find(names[1]).state, store.find(names[1]).error) == ("delivered", None)
    assert (store.find(names[2]).state, store.find(names[2]).error) == ("failed", "It answered 404.")
    assert [webhook.task_id for webhook in claim(store, now=10**6)] == names[:1]


def add_ended(tasks, url, credential=""):
    task = tasks.add(number=7, credential=credential, wanted="{}", warnings=[], webhook=(url, "http://here/"))
    tasks.fail(task.task_id, code="cancelled", sentence="x")
    return task.task_id


def test_a_host_with_hundreds_of_webhooks_hides_nobody_else_s(tasks, store):
    slow = [add_ended(tasks, f"http://Slow.example:{port}?{port}") for port in range(200)]
    mine, hers = add_ended(tasks, "https://good.example/a"), add_ended(tasks, "http://slow.example/", "ann")
    *_, last = found = [webhook.task_id for webhook in store.due(10.0, most_of_a_host=2)]
    assert {mine, hers} < set(found[:3]), "one of every host comes first"
    assert (len(found), last in slow) == (4, True)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://a.example", "a.example"), ("https://A.example/x://y", "a.example"),
        ("http://a.example:81/", "a.example"),
        ("http://a.example?b/c", "a.example"), ("http://a.example#b", "a.example"), ("http://[::1]:81/", "[::1]"),
        ("http://[::1]", "[::1]"), ("http://10.0.0.1:81", "10.0.0.1"),
    ],
)  # fmt: skip
def test_the_host_of_an_address_is_found(tasks, store, url, host):
    add_ended(tasks, url)
    assert [webhook.host for webhook in store.due(10.0, most_of_a_host=2)] == [host]


def test_the_address_is_forgotten_with_the_task(tasks, store, monkeypatch, tmp_path):
    name = add(tasks)
    tasks.fail(name, code="cancelled", sentence="x")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 101)
    assert tasks.find(name, "").state == "expired"
    tasks.maintain()
    assert store.find(name) is None
    assert claim(store, now=10**12) == []


def test_the_trace_of_the_last_attempt_is_kept_with_the_webhook_and_forgotten_with_it(tasks, store, tmp_path):
    name, without = add(tasks), tasks.add(number=8, credential="", wanted="{}", warnings=[]).task_id
    for task_id in (name, without):
        store.set_trace(task_id, "a" * 32)
        store.set_trace(task_id, "b" * 32)
    tasks.fail(name, code="generation_failed", sentence="x")
    [due] = WebhookStore(tmp_path).due(10.0, most_of_a_host=10)
    assert (due.number, due.trace_id) == (7, "b" * 32)
    kept = StateDatabase(tmp_path)
    assert [row["task_id"] for row in kept.execute("SELECT * FROM webhook_traces")] == [name]
    kept.execute("UPDATE tasks SET state = 'expired'")
    assert kept.execute("SELECT * FROM webhook_traces") == []


def test_no_task_waits_for_the_disk_because_of_a_trace(tasks, store, monkeypatch):
    name, waits, execute = add(tasks), [], StateDatabase.execute

    def watched(database, *statement):
        [[level]] = execute(database, "PRAGMA synchronous")
        waits.append(level == SYNCHRONOUS_FULL)
        return execute(database, *statement)

    monkeypatch.setattr(StateDatabase, "execute", watched)
    store.set_trace(name, "a" * 32)
    store.deliver(name)
    assert waits == [False, True]


def test_a_webhook_survives_a_new_start(tasks, store, tmp_path):
    name = add(tasks)
    task_store(tmp_path)
    assert WebhookStore(tmp_path).find(name).url == URL


def test_a_database_that_cannot_be_read_is_a_storage_error(tasks, store, tmp_path):
    name = add(tasks)
    with sqlite3.connect(tmp_path / "state.sqlite") as database:
        database.execute("DROP TABLE webhooks")
        database.execute("DROP TABLE tasks")
    database.close()
    for ask in (
        lambda: claim(store),
        lambda: store.find(name),
        lambda: tasks.find(name, ""),
        lambda: tasks.adopt(lambda: 2),
    ):
        with pytest.raises(StorageFull):
            ask()
