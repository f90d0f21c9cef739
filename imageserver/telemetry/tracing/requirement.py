"""What OTEL_EXPORTER_OTLP_ENDPOINT needs: the packages of the extra `otel`."""

import importlib.util

from imageserver.settings import IS_CHECKOUT, Settings

EXPORTER = "opentelemetry.exporter.otlp.proto.http"


def check_tracing(settings: Settings) -> str:
    """Return a warning where traces are wanted and OpenTelemetry is not installed, else nothing.

    The variable may have been set for other programs of the machine: that ends no start.
    """
    if not settings.otel_exporter_otlp_endpoint or is_installed():
        return ""
    command = "bash start_server.sh" if IS_CHECKOUT else "pip install 'qwen-image-server[otel]'"
    return (
        "WARNING OTEL_EXPORTER_OTLP_ENDPOINT has no effect: OpenTelemetry is not installed, and no traces are made; "
        f"{command} installs it."
    )


def is_installed() -> bool:
    try:
        return importlib.util.find_spec(EXPORTER) is not None
    except ModuleNotFoundError:
        return False
