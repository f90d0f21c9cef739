"""A start that cannot send the traces it is asked for says so and goes on."""

import pytest

from imageserver.settings import Settings
from imageserver.telemetry.tracing import requirement
from imageserver.telemetry.tracing.opening import open_tracing
from imageserver.telemetry.tracing.requirement import check_tracing

COLLECTOR = "http://127.0.0.1:4318"


def settings(endpoint):
    return Settings(_env_file=None, otel_exporter_otlp_endpoint=endpoint)


def test_no_traces_are_made_and_nothing_is_needed_without_a_collector(monkeypatch):
    monkeypatch.setattr(requirement, "EXPORTER", "not.installed")
    assert check_tracing(settings("")) == ""
    assert open_tracing(settings("")) is None


@pytest.mark.parametrize("package", ["not.installed", "opentelemetry.not_installed"])
def test_a_collector_needs_the_extra_and_one_that_is_meant_for_others_ends_no_start(monkeypatch, package):
    assert check_tracing(settings(COLLECTOR)) == ""
    monkeypatch.setattr(requirement, "EXPORTER", package)
    warning = check_tracing(settings(COLLECTOR))
    assert "has no effect: OpenTelemetry is not installed" in warning
    assert warning.endswith(" installs it.")
    assert open_tracing(settings(COLLECTOR)) is None


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "grpc://collector:4317"])
def test_an_address_that_is_not_http_is_refused(endpoint):
    with pytest.raises(ValueError, match="otel_exporter_otlp_endpoint"):
        settings(endpoint)
