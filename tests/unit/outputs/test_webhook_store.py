"""Webhooks on disk: due when the task has ended, one worker's at a time, and gone with the task."""

import sqlite3
import time

import pytest

from imageserver.errors import StorageFull
from imageserver.outputs.webhook_store import WebhookStore
from tests.support.factories import task_store

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
    return store.claim(now, lease=20, most=10)


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
    assert [webhook.attempts for webhook in claim(other, now=31.0)] == [2]


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


def test_no_more_are_claimed_than_there_is_room_for(tasks, store):
    for _ in range(3):
        tasks.fail(add(tasks), code="cancelled", sentence="x")
    assert [len(store.claim(10.0, lease=20, most=2)) for _ in range(3)] == [2, 1, 0]


def test_the_address_is_forgotten_with_the_task(tasks, store, monkeypatch, tmp_path):
    name = add(tasks)
    tasks.fail(name, code="cancelled", sentence="x")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 101)
    assert tasks.find(name, "").state == "expired"
    tasks.maintain()
    assert store.find(name) is None
    assert claim(store, now=10**12) == []


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
