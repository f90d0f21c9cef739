"""How long a client waited, for what, and how it ended."""

import contextlib
import time
from types import SimpleNamespace

import pytest
from flask import Flask, g
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from imageserver.api.generation.request_times import RequestTimes, server_timing
from imageserver.dispatch.client.ticket import PreviewImage
from imageserver.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidParameter,
    QueueFull,
    QuotaExceeded,
    ServiceError,
    WouldTimeOut,
)
from imageserver.generation import ModelInfo, Outcome, StageSeconds
from imageserver.protocol.messages import Preview
from imageserver.telemetry.logs import current_trace
from imageserver.telemetry.metric_registry import MetricRegistry
from imageserver.telemetry.tracing.tracing import Tracing
from tests.support.factories import generation
from tests.support.measured import counted, observed

OUTCOME = Outcome(
    width=64, height=64, seeds=(1,), inference_time=2.0, queue_time=0.25, batch_size=1,
    stage_seconds=StageSeconds(text=0.5, denoise=1.2, decode=0.3),
)  # fmt: skip
PREVIEW = PreviewImage(Preview(job=1, index=0, step=1, total=4, width=1, height=1), b"rgb")


def measured(*updates, name="demo"):
    """Return what is measured of a request that came ten seconds ago, whose updates may be errors."""
    service = SimpleNamespace(
        measurements=MetricRegistry(),
        tracing=None,
        info_of=lambda model: ModelInfo(name=model) if model == "demo" else None,
    )
    times = RequestTimes(service, generation(model=name), time.monotonic() - 10)

    def pass_on():
        for update in updates:
            if isinstance(update, Exception):
                raise update
            if update == "result":
                times.record_encoding(0.1)
                times.complete(OUTCOME, "miss")
            yield update

    with contextlib.suppress(ServiceError):
        for _ in times.follow(pass_on()):
            pass
    return service.measurements.series()


@pytest.mark.parametrize(
    ("ending", "state"),
    [
        ("result", "completed"), (ServiceError(), "failed"), (DeadlineExceeded("x"), "failed"),
        (Cancelled("x"), "cancelled"), (QueueFull("x"), "refused"), (QuotaExceeded("x"), "refused"),
        (WouldTimeOut("x"), "refused"), (InvalidParameter("x"), "refused"),
    ],
)  # fmt: skip
def test_every_request_is_measured_from_its_arrival_to_its_end(ending, state):
    count, seconds = observed(measured(None, ending), "request_seconds", "demo", "text", "512", state)
    assert (count, int(seconds)) == (1, 10)


def test_the_first_preview_alone_is_measured():
    assert observed(measured(PREVIEW, PREVIEW, "result"), "first_preview_seconds")[0] == 1
    assert observed(measured("result"), "first_preview_seconds")[0] == 0


def test_encoding_is_a_stage_and_the_origin_of_the_images_is_counted():
    series = measured("result")
    assert observed(series, "stage_seconds", "encode") == (1, 0.1)
    assert counted(series, "cache_results") == {("miss",): 1.0}


def test_a_name_that_a_client_made_up_is_no_label_of_its_own():
    assert observed(measured("result", name="made up"), "request_seconds", "other")[0] == 1


def test_a_client_that_left_is_measured_as_cancelled():
    service = SimpleNamespace(measurements=MetricRegistry(), info_of=lambda model: None, tracing=None)
    updates = RequestTimes(service, generation(), time.monotonic()).follow(iter([None, None]))
    next(updates)
    updates.close()
    assert observed(service.measurements.series(), "request_seconds", "other", "text", "512", "cancelled")[0] == 1


def test_a_log_line_has_the_device_the_batch_and_every_stage():
    service = SimpleNamespace(measurements=MetricRegistry())
    times = RequestTimes(service, generation(), 0.0)
    times.record_device("cuda:1")
    assert times.log_fields(OUTCOME) == {
        "device": "cuda:1",
        "batch_size": 1,
        "queue_seconds": 0.25,
        "stage_seconds": {"text": 0.5, "denoise": 1.2, "decode": 0.3, "encode": 0.0},
    }


def test_the_response_says_where_the_time_went():
    assert server_timing(OUTCOME, 0.1) == (
        "queue;dur=250.0, text;dur=500.0, denoise;dur=1200.0, decode;dur=300.0, encode;dur=100.0"
    )
    service = SimpleNamespace(measurements=MetricRegistry(), info_of=lambda model: None)
    with Flask("timing").test_request_context():
        RequestTimes(service, generation(), 0.0).complete(OUTCOME, "hit")
        assert g.server_timing == "cache;desc=hit"


def test_a_trace_is_below_the_span_that_the_request_names_and_its_log_lines_have_its_id():
    exporter = InMemorySpanExporter()
    tracing = Tracing(SimpleSpanProcessor(exporter), prompts=False)
    service = SimpleNamespace(
        measurements=MetricRegistry(), info_of=lambda model: ModelInfo(name="demo"), tracing=tracing
    )

    with Flask("tracing").test_request_context(headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}):
        times = RequestTimes(service, generation(), time.monotonic())
        with pytest.raises(QueueFull):
            next(times.follow(iter_raising(QueueFull("The server is full."))))
        assert current_trace.get() == "a" * 32
        current_trace.set("")
    [*_, root] = exporter.get_finished_spans()
    assert (f"{root.context.trace_id:x}", f"{root.parent.span_id:x}") == ("a" * 32, "b" * 16)
    assert root.attributes.items() >= {"error.type": "queue_full", "image.model": "demo"}.items()


def test_an_attempt_that_is_followed_by_another_is_neither_measured_nor_traced():
    exporter = InMemorySpanExporter()
    tracing = Tracing(SimpleSpanProcessor(exporter), prompts=False)
    service = SimpleNamespace(measurements=MetricRegistry(), info_of=lambda model: None, tracing=tracing)

    def ends_with(error):
        times = RequestTimes(service, generation(), time.monotonic())
        times.leave_to_next_attempt((QueueFull,))
        with contextlib.suppress(ServiceError):
            next(times.follow(iter_raising(error)))
        return observed(service.measurements.series(), "request_seconds")[0], len(exporter.get_finished_spans())

    assert ends_with(QueueFull("The server is full.")) == (0, 0)
    assert ends_with(QuotaExceeded("x")) == (1, 2), "the queue and the request"


def iter_raising(error):
    raise error
    yield


def test_a_task_that_runs_after_its_request_is_in_the_trace_of_its_client():
    exporter = InMemorySpanExporter()
    for tracing in (Tracing(SimpleSpanProcessor(exporter), prompts=False), None):
        service = SimpleNamespace(measurements=MetricRegistry(), info_of=lambda model: None, tracing=tracing)
        with Flask("tasks").test_request_context(headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}):
            times = RequestTimes(service, generation(), time.monotonic())
        list(times.follow(iter([None])))
        assert current_trace.get() == "a" * 32
        current_trace.set("")
    assert {f"{span.context.trace_id:x}" for span in exporter.get_finished_spans()} == {"a" * 32}


def test_without_a_collector_log_lines_have_the_id_of_the_clients_trace():
    service = SimpleNamespace(measurements=MetricRegistry(), info_of=lambda model: None, tracing=None)
    for header, trace in ((f"00-{'a' * 32}-{'b' * 16}-01", "a" * 32), ("made up", ""), ("", "")):
        with Flask("tracing").test_request_context(headers={"traceparent": header}):
            next(RequestTimes(service, generation(), time.monotonic()).follow(iter([None])))
            assert current_trace.get() == trace
