"""An attempt at a task that another one follows is neither measured nor traced, and leaves no image in memory.

The last one is measured and traced as it ended.
"""

import weakref
from types import SimpleNamespace
from unittest.mock import ANY

import gevent
import pytest
from flask import Flask
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from imageserver.api.dialects.tasks import accepting, runner
from imageserver.api.dialects.tasks.accepting import TaskRequest
from imageserver.client_limits import NO_LIMITS
from imageserver.errors import EngineUnavailable, StorageFull, StorageUnavailable
from imageserver.generation import ModelInfo, Outcome
from imageserver.outputs.cache import Answer
from imageserver.outputs.webhook_store import WebhookStore
from imageserver.telemetry.tracing.tracing import Tracing
from tests.support.enhancing_service import QUEUED, Endpoint, pending_of, service_with
from tests.support.factories import task_store
from tests.support.measured import observed

OUTCOME = Outcome(width=64, height=64, seeds=(1,), inference_time=1.0, queue_time=0.0, batch_size=1)


@pytest.fixture
def service(tmp_path, monkeypatch):
    """A service with tasks and a collector."""
    service = service_with(None, max_queue=4, font_path=None, state_dir=tmp_path, resolve=lambda path: path)
    service.tasks, service.webhook_store = task_store(tmp_path), WebhookStore(tmp_path)
    service.exporter = InMemorySpanExporter()
    service.tracing = Tracing(SimpleSpanProcessor(service.exporter), prompts=False)
    service.request_ids, service.draining, service.status = SimpleNamespace(next_id=lambda: 9), False, "healthy"
    service.output_sealer = service.output_signer = None
    for name, value in {"credential": "", "account": "", "limits": NO_LIMITS}.items():
        monkeypatch.setattr(accepting, name, lambda value=value: value)
    return service


def accepted(app, service):
    with app.test_request_context("/submit"):
        task_request = TaskRequest(number=1, pending=pending_of(service), fields={}, warnings=[])
        return accepting.accept(service, task_request).task.task_id


def wait_until(is_done, then=lambda: None):
    with gevent.Timeout(10):
        while not is_done():
            then()
            gevent.sleep(0.002)


def measured(service):
    count, _ = observed(service.measurements.series(), "request_seconds")
    return count, [span.name for span in service.exporter.get_finished_spans() if span.parent is None]


@pytest.mark.parametrize("endpoint", [None, Endpoint()], ids=["as sent", "with a better prompt"])
def test_an_accepted_task_whose_engine_dies_is_left_to_its_next_attempt(service, monkeypatch, endpoint):
    def dying():
        yield QUEUED
        raise EngineUnavailable("The engine died.", retry_after=0.001)

    service.prompt_endpoint = endpoint
    monkeypatch.setattr(service.client, "submit", lambda *_: SimpleNamespace(updates=lambda pause: dying()))
    task_id = accepted(Flask("tasks"), service)
    wait_until(lambda: service.tasks.find(task_id, "").owner is None)
    assert measured(service) == (0, [])


def test_a_task_whose_store_is_away_is_measured_once_and_holds_no_image_while_it_waits(service, monkeypatch):
    app, results, kept, wait = Flask("tasks"), [], [], runner._wait

    def save(service, result):
        results.append(weakref.ref(result))
        if len(results) < 3:
            try:
                raise OSError("The mount is gone.")
            except OSError as error:
                raise StorageUnavailable("The store is away.", retry_after=0.001) from error
        return ["a.png"]

    def watched(*arguments, **named):
        kept.append(results[-1]())
        wait(*arguments, **named)

    monkeypatch.setattr(runner, "save_all", save)
    monkeypatch.setattr(runner, "_wait", watched)
    service.info_of = lambda name: ModelInfo(name="demo")
    service.cache = SimpleNamespace(get=lambda key: Answer(OUTCOME, (b"image",), ANY))
    service.client.record_cache_hit = lambda hit: None
    task_id = accepted(app, service)
    wait_until(lambda: service.tasks.find(task_id, "").state == "completed", then=lambda: runner.adopt(app, service))
    assert measured(service) == (1, ["generation"])
    assert kept == [None, None]


@pytest.mark.parametrize("error", [StorageFull("The disk is full."), OSError("a bug")])
def test_a_task_whose_images_cannot_be_saved_is_measured_and_traced_as_failed(service, monkeypatch, error):
    def save(*_):
        raise error

    monkeypatch.setattr(runner, "save_all", save)
    service.info_of = lambda name: ModelInfo(name="demo")
    service.cache = SimpleNamespace(get=lambda key: Answer(OUTCOME, (b"image",), ANY))
    service.client.record_cache_hit = lambda hit: None
    task_id = accepted(Flask("tasks"), service)
    wait_until(lambda: service.tasks.find(task_id, "").state == "failed")
    outcomes = [each.labels[-1] for each in service.measurements.series() if each.name == "request_seconds"]
    [root] = service.exporter.get_finished_spans()
    assert (outcomes, root.attributes["outcome"]) == (["failed"], "failed")
