"""The lines about a webhook have the request, the client and the trace of its task, also after a restart."""

import logging
import time
from types import SimpleNamespace

import gevent
import pytest
from flask import Flask
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from imageserver.api.dialects.tasks import accepting, runner, webhooks
from imageserver.api.dialects.tasks.accepting import TaskRequest
from imageserver.api.outbound.webhooks import WebhookFailed
from imageserver.client_limits import NO_LIMITS
from imageserver.errors import GenerationFailed
from imageserver.outputs.webhook_store import WebhookStore
from imageserver.telemetry.logs import current_credential, current_request, current_trace
from imageserver.telemetry.tracing.tracing import Tracing
from tests.support.enhancing_service import QUEUED, pending_of, service_with
from tests.support.factories import task_store

CLIENT = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}


@pytest.fixture
def service(tmp_path, monkeypatch):
    """A service whose generations fail, for a client with a key."""

    def failing():
        yield QUEUED
        raise GenerationFailed("It failed.")

    service = service_with(None, max_queue=4, font_path=None, state_dir=tmp_path, resolve=lambda path: path)
    service.client.submit = lambda *_: SimpleNamespace(updates=lambda pause: failing())
    service.links, service.exporter = SimpleNamespace(root=lambda: "http://here"), InMemorySpanExporter()
    for name, value in {"credential": "ann", "account": "", "limits": NO_LIMITS}.items():
        monkeypatch.setattr(accepting, name, lambda value=value: value)
    monkeypatch.setattr(webhooks, "status_of", lambda service, task: {"status": task.state})
    return restarted(service, tmp_path)


def restarted(service, folder):
    service.tasks, service.webhook_store = task_store(folder), WebhookStore(folder)
    return service


def accepted(app, service, *, is_loaded=True, **headers):
    with app.test_request_context("/submit", headers=headers):
        pending = pending_of(service) if is_loaded else None
        url = "http://receiver.example/hook"
        body = TaskRequest(number=5, pending=pending, fields={}, warnings=[], webhook_url=url)
        return accepting.accept(service, body).task.task_id


def lines_of_attempt(app, service, moment, error=None):
    """Try to send what is due at a moment; return the request, the client and the trace of every line."""
    lines, handler = [], logging.Handler()
    handler.emit = lambda record: lines.append((current_request.get(), current_credential.get(), current_trace.get()))

    def send(url, body, *, webhook_id):
        if error:
            raise error

    [due] = service.webhook_store.due(moment, most_of_a_host=1)
    webhooks.logger.addHandler(handler)
    try:
        gevent.spawn(webhooks._send, app, service, SimpleNamespace(send=send), due).get()
    finally:
        webhooks.logger.removeHandler(handler)
    return lines


@pytest.mark.parametrize(("headers", "has_collector"), [(CLIENT, False), ({}, True), (CLIENT, True)])
def test_every_attempt_is_told_with_the_trace_of_the_task(service, tmp_path, caplog, headers, has_collector):
    caplog.set_level(logging.INFO, webhooks.logger.name)
    if has_collector:
        service.tracing = Tracing(SimpleSpanProcessor(service.exporter), prompts=False)
    app = Flask("tasks")
    task_id = accepted(app, service, **headers)
    with gevent.Timeout(10):
        while service.tasks.find(task_id, "").state != "failed":
            gevent.sleep(0.002)
    trace = f"{service.exporter.get_finished_spans()[-1].context.trace_id:032x}" if has_collector else "a" * 32
    assert trace == "a" * 32 or not headers
    refused = lines_of_attempt(app, service, time.time(), WebhookFailed("It answered 500."))
    told = lines_of_attempt(app, restarted(service, tmp_path), time.time() + webhooks.RETRY_SECONDS[0])
    assert refused == told == [(5, "ann", trace)]


def test_a_task_that_is_cancelled_before_it_begins_has_its_clients_trace(service, monkeypatch):
    monkeypatch.setattr(runner, "follow", lambda *_: None)
    task_id = accepted(Flask("tasks"), service, is_loaded=False, **CLIENT)
    service.tasks.fail(task_id, code="cancelled", sentence="The task was cancelled.")
    [due] = service.webhook_store.due(time.time(), most_of_a_host=1)
    assert due.trace_id == "a" * 32
