"""A task is one generation of its client's trace, whatever runs it, and however often it has to be tried."""

import logging
import time
from types import SimpleNamespace

import gevent
import pytest
from flask import Flask
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from imageserver.api.dialects.tasks import runner, stored_request
from imageserver.api.generation.run import GenerationRequest
from imageserver.api.output_options import OutputOptions
from imageserver.api.wsgi.bodies.waiting import WaitingBytes
from imageserver.errors import EngineUnavailable, GenerationFailed
from imageserver.outputs.webhook_store import WebhookStore
from imageserver.protocol.messages import Started
from imageserver.telemetry.logs import current_trace
from imageserver.telemetry.metric_registry import MetricRegistry
from imageserver.telemetry.tracing.tracing import Tracing
from tests.support.factories import generation, task_store
from tests.support.measured import observed

CLIENT = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}


@pytest.fixture
def app():
    """As the real one, it has a page at /."""
    app = Flask("tasks")
    app.add_url_rule("/", "page", lambda: "")
    return app


@pytest.fixture
def service(tmp_path, monkeypatch):
    """A service whose engine is away for the first two attempts, and fails in the third."""
    monkeypatch.setattr(runner, "STATUS_INTERVAL_SECONDS", 0.001)
    exporter, traced = InMemorySpanExporter(), []

    def submit(message, source):
        traced.append(current_trace.get())
        if len(traced) < 3:
            raise EngineUnavailable("The engine died.", retry_after=0.001)
        return SimpleNamespace(updates=lambda pause: failing())

    def failing():
        yield Started(job=9)
        raise GenerationFailed("It failed.")

    return SimpleNamespace(
        tasks=task_store(tmp_path), webhook_store=WebhookStore(tmp_path),
        request_ids=SimpleNamespace(next_id=lambda: 9), draining=False, status="healthy",
        settings=SimpleNamespace(font_path=None, state_dir=tmp_path, resolve=lambda path: path),
        output_sealer=None, output_signer=None, client=SimpleNamespace(submit=submit), info_of=lambda name: None,
        measurements=MetricRegistry(), exporter=exporter, traced=traced,
        tracing=Tracing(SimpleSpanProcessor(exporter), prompts=False), waiting=WaitingBytes(2**30),
    )  # fmt: skip


@pytest.fixture
def lines():
    """What the runner logs, each with the trace that its line has."""
    seen, handler, level = [], logging.Handler(), runner.logger.level
    handler.emit = lambda record: seen.append((record.getMessage(), current_trace.get()))
    runner.logger.addHandler(handler)
    runner.logger.setLevel(logging.INFO)
    yield seen
    runner.logger.removeHandler(handler)
    runner.logger.setLevel(level)


def stored_task(app, service, wanted):
    with app.test_request_context("/submit", headers=CLIENT):
        return service.tasks.add(number=1, credential="", wanted=wanted(), warnings=[])


def whole():
    options = OutputOptions("png", None, None)
    return stored_request.wanted_of(
        GenerationRequest(number=1, generation=generation(), output_options=options, timeout=60)
    )


def adopt_until(app, service, is_done):
    deadline = time.monotonic() + 10
    while not is_done() and time.monotonic() < deadline:
        runner.adopt(app, service)
        gevent.sleep(0.002)
    assert is_done()


def test_the_attempts_of_an_adopted_task_are_one_generation_of_no_route(app, service):
    task = stored_task(app, service, whole)
    service.tasks.unfollow(task.task_id)
    adopt_until(app, service, lambda: service.tasks.find(task.task_id, "").state == "failed")
    [*_, root] = spans = service.exporter.get_finished_spans()
    assert [span.name for span in spans] == ["queue", "generation"]
    assert (root.kind, f"{root.context.trace_id:x}") == (SpanKind.INTERNAL, "a" * 32)
    assert "http.route" not in root.attributes
    assert observed(service.measurements.series(), "request_seconds")[0] == 1
    assert service.traced == ["a" * 32] * 3


def test_the_log_of_a_task_has_its_trace_after_its_request(app, service, lines):
    task, ended = stored_task(app, service, whole), []

    def updates():
        yield Started(job=1)
        runner.logger.info("It is generated.")
        ended.append(True)

    with app.test_request_context("/submit", headers=CLIENT):
        current_trace.set("c" * 32)
        runner.follow(service, task, lambda: (task, updates()))
        current_trace.set("")
    with gevent.Timeout(10):
        while not ended:
            gevent.sleep(0.002)
    assert ("It is generated.", "c" * 32) in lines


def test_the_log_of_a_task_that_waits_for_its_model_has_its_clients_trace(app, service, lines, monkeypatch):
    def refuse(*_):
        raise EngineUnavailable("The model cannot be loaded.", retry_after=0.001)

    monkeypatch.setattr(stored_request, "parse_request", lambda *_, **fields: None)
    monkeypatch.setattr(stored_request, "prepare", refuse)
    task = stored_task(app, service, lambda: stored_request.wanted_of_fields({"prompt": "a fox"}, ""))
    service.tasks.unfollow(task.task_id)
    waits = "The task waits: The model cannot be loaded."
    adopt_until(app, service, lambda: waits in [line for line, _ in lines])
    assert (waits, "a" * 32) in lines
