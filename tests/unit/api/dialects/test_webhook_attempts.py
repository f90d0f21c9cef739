"""Every attempt to send a webhook is counted by its result."""

from types import SimpleNamespace

import pytest
from flask import Flask

from imageserver.api.dialects.tasks import webhooks
from imageserver.api.outbound.webhooks import WebhookFailed
from imageserver.telemetry.metric_registry import MetricRegistry
from tests.support.measured import counted


@pytest.fixture
def attempt(monkeypatch):
    """Try to send a webhook that was tried before, and return what was counted."""
    monkeypatch.setattr(webhooks, "status_of", lambda service, task: {"status": task.state})
    task = SimpleNamespace(state="completed", number=1)
    store = SimpleNamespace(postpone=lambda *_, **kept: None, deliver=lambda *_: None, give_up=lambda *_, **kept: None)

    def send(error, attempts):
        service = SimpleNamespace(
            tasks=SimpleNamespace(find=lambda *_: task), webhook_store=store, measurements=MetricRegistry()
        )

        def deliver(url, body, *, webhook_id):
            if error:
                raise error

        due = SimpleNamespace(task_id="t", url="http://a.example", site="http://b.example", attempts=attempts, error="")
        webhooks._attempt(Flask("webhooks"), service, SimpleNamespace(send=deliver), due)
        return counted(service.measurements.series(), "webhooks")

    return send


@pytest.mark.parametrize(
    ("error", "attempts", "result"),
    [
        (None, 1, "delivered"),
        (WebhookFailed("It answered 500."), 1, "retried"),
        (WebhookFailed("It answered 500."), len(webhooks.RETRY_SECONDS) + 1, "abandoned"),
        # A worker died in each attempt, and in the last one too.
        (None, len(webhooks.RETRY_SECONDS) + 2, "abandoned"),
    ],
)
def test_an_attempt_is_counted_by_its_result(attempt, error, attempts, result):
    assert attempt(error, attempts) == {(result,): 1.0}
