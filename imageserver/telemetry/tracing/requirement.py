"""What OTEL_EXPORTER_OTLP_ENDPOINT needs before a server starts: the packages of the extra `otel`."""

import importlib.util

from imageserver.settings import IS_CHECKOUT, Settings

EXPORTER = "opentelemetry.exporter.otlp.proto.http"


def require_tracing(settings: Settings) -> None:
    """Exit with one sentence where traces are wanted and OpenTelemetry is not installed."""
    if not settings.otel_exporter_otlp_endpoint or _is_installed(EXPORTER):
        return
    command = "bash start_server.sh" if IS_CHECKOUT else "pip install 'qwen-image-server[otel]'"
    raise SystemExit(f"OTEL_EXPORTER_OTLP_ENDPOINT needs OpenTelemetry, which is not installed: {command} installs it.")


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False
