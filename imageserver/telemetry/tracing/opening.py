"""The tracing that the settings ask for."""

import logging
from typing import TYPE_CHECKING

from imageserver.settings import Settings
from imageserver.telemetry.tracing.requirement import is_installed

if TYPE_CHECKING:
    from imageserver.telemetry.tracing.tracing import Tracing

logger = logging.getLogger(__name__)

EXPORT_TIMEOUT_SECONDS = 5.0
# Spans are written on a greenlet: 128 at a time keep the others waiting for few milliseconds.
MAX_SPANS_AT_ONCE = 128


def open_tracing(settings: Settings) -> "Tracing | None":
    """Return the tracing of one worker, None without a collector, the extra, or variables that OpenTelemetry accepts.

    Only after the fork, for its thread.
    """
    if not settings.otel_exporter_otlp_endpoint or not is_installed():
        return None
    try:
        return _open(settings)
    except ValueError as error:
        # It warns of most wrong variables and goes on; not of a delay of 0, or a queue of fewer spans than are sent at
        # once. Limits of a span it reads when it is imported.
        logger.error("No traces are made: OpenTelemetry does not accept one of its variables: %s", error)
        return None


def _open(settings: Settings) -> "Tracing":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from imageserver.telemetry.tracing.tracing import Tracing

    # It warns of each header that a client got wrong, and of each try while the collector is away.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    endpoint = f"{settings.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces"
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_SECONDS)
    # Every five seconds, unless OTEL_BSP_SCHEDULE_DELAY says otherwise: an export of few spans costs the worker 1 to
    # 8 ms, and once a second it met nearly every request of a client that asked about as often.
    processor = BatchSpanProcessor(exporter, max_export_batch_size=MAX_SPANS_AT_ONCE)
    return Tracing(processor, prompts=settings.log_prompts)
