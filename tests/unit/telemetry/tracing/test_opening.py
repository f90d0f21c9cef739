"""Spans are sent rarely, because each export takes time of the worker, and as often as the operator says."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from imageserver.settings import Settings
from imageserver.telemetry.tracing.opening import open_tracing
from tests.support.paths import ROOT


@pytest.mark.parametrize(("wanted", "milliseconds"), [(None, 5000), ("700", 700)])
def test_opentelemetrys_own_variable_says_how_often_spans_are_sent(monkeypatch, wanted, milliseconds):
    seen = []

    def processor(exporter, delay, batch_size, *_):
        seen.append((delay, batch_size))
        return SimpleNamespace()

    monkeypatch.setattr("opentelemetry.sdk.trace.export.BatchProcessor", processor)
    monkeypatch.delenv("OTEL_BSP_SCHEDULE_DELAY", raising=False)
    if wanted:
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", wanted)
    open_tracing(Settings(_env_file=None, otel_exporter_otlp_endpoint="http://127.0.0.1:9"))
    assert seen == [(milliseconds, 128)]


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_BSP_SCHEDULE_DELAY", "0"), ("OTEL_BSP_SCHEDULE_DELAY", "-1"), ("OTEL_BSP_MAX_QUEUE_SIZE", "127")],
)
def test_a_variable_that_opentelemetry_does_not_accept_costs_the_traces_and_not_the_server(
    monkeypatch, caplog, name, value
):
    monkeypatch.setenv(name, value)
    assert open_tracing(Settings(_env_file=None, otel_exporter_otlp_endpoint="http://127.0.0.1:9")) is None
    [record] = caplog.records
    assert record.getMessage().startswith("No traces are made: OpenTelemetry does not accept one of its variables: ")


def test_a_limit_that_opentelemetry_refuses_when_it_is_imported_costs_the_traces_alone():
    ask = (
        "from imageserver.settings import Settings; from imageserver.telemetry.tracing.opening import open_tracing; "
        "print(open_tracing(Settings(_env_file=None, otel_exporter_otlp_endpoint='http://127.0.0.1:9')))"
    )
    environment = os.environ | {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "-1"}
    asked = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (asked.stdout, asked.stderr.count("No traces are made: ")) == ("None\n", 1)
