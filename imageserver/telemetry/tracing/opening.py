"""The tracing that the settings ask for."""

import logging
from typing import TYPE_CHECKING

from imageserver.settings import Settings

if TYPE_CHECKING:
    from imageserver.telemetry.tracing.tracing import Tracing

EXPORT_TIMEOUT_SECONDS = 5.0
# Spans are written on a greenlet: 128 at a time keep the others waiting for few milliseconds.
MAX_SPANS_AT_ONCE = 128
INTERVAL_MILLISECONDS = 1000.0


def open_tracing(settings: Settings) -> "Tracing | None":
    """Return the tracing of one worker, None without a collector; only after the fork, for its thread."""
    endpoint = settings.otel_exporter_otlp_endpoint
    if not endpoint:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from imageserver.telemetry.tracing.tracing import Tracing

    # It warns of each header that a client got wrong, and of each try while the collector is away.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_SECONDS)
    processor = BatchSpanProcessor(
        exporter, schedule_delay_millis=INTERVAL_MILLISECONDS, max_export_batch_size=MAX_SPANS_AT_ONCE
    )
    return Tracing(processor, prompts=settings.log_prompts)
