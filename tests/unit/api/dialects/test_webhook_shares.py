"""No receiver and no key can take all senders of webhooks."""

import time
from types import SimpleNamespace

import gevent
import pytest

from imageserver.api.dialects.tasks import webhooks
from imageserver.api.dialects.tasks.webhook_shares import MAX_CONCURRENT, MAX_OF_A_KEY, MAX_TO_A_HOST, WebhookShares
from imageserver.outputs.webhook_store import DueWebhook, WebhookStore
from tests.support.factories import task_store


def due(host="a.example", key=""):
    return DueWebhook("7", 0.0, key, host, number=7, trace_id="")


def test_a_host_has_a_share_of_the_senders_and_gets_it_back():
    shares = WebhookShares()
    assert [shares.acquire(due()) for _ in range(MAX_TO_A_HOST + 1)] == [True] * MAX_TO_A_HOST + [False]
    assert shares.acquire(due("b.example"))
    assert shares.acquire(due(key="ann")), "another key's webhooks to the same host"
    shares.release(due())
    assert [shares.acquire(due()) for _ in range(2)] == [True, False]


def test_a_key_has_a_share_whatever_hosts_it_names_and_without_keys_only_hosts_have_one():
    shares = WebhookShares()
    assert sum(shares.acquire(due(f"{n}.example", "ann")) for n in range(MAX_CONCURRENT)) == MAX_OF_A_KEY
    assert shares.acquire(due("0.example", "bob"))
    alone = WebhookShares()
    assert sum(alone.acquire(due(f"{n}.example")) for n in range(MAX_CONCURRENT + 1)) == MAX_CONCURRENT
    assert alone.are_all_taken


@pytest.mark.fault(47)
@pytest.mark.parametrize("key", ["", "ann"])
def test_a_receiver_that_never_answers_delays_nobody_else_by_more_than_a_second(tmp_path, monkeypatch, key):
    tasks, sent, held = task_store(tmp_path), [], []

    def attempt(app, service, sender, webhook):
        (sent if "good" in webhook.url else held).append(webhook.task_id)
        gevent.sleep(0 if "good" in webhook.url else 15)

    monkeypatch.setattr(webhooks, "_attempt", attempt)
    monkeypatch.setattr(webhooks, "POLL_SECONDS", 0.05)
    service = SimpleNamespace(draining=False, webhook_store=WebhookStore(tmp_path))

    def add(url):
        task = tasks.add(number=7, credential=key, wanted="{}", warnings=[], webhook=(url, "http://here/"))
        tasks.fail(task.task_id, code="cancelled", sentence="x")
        return task.task_id

    for number in range(64):
        add(f"http://tarpit.example:{8000 + number}/")
    sending = gevent.spawn(webhooks._send_forever, None, service, None)
    try:
        gevent.sleep(0.3)
        good, began = add("http://good.example/"), time.monotonic()
        with gevent.Timeout(15):
            while sent != [good]:
                gevent.sleep(0.01)
        assert time.monotonic() - began < 1
        assert len(held) == MAX_TO_A_HOST
    finally:
        sending.kill()
