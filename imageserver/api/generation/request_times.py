"""The times of one request for a generation: how long its client waited, for what, and how it ended."""

import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, TypeVar

from flask import g, has_request_context, request

from imageserver.api.services import Services
from imageserver.dispatch.client.ticket import PreviewImage
from imageserver.errors import Cancelled, ServiceError
from imageserver.generation import Generation, Outcome
from imageserver.telemetry.generation_labels import labels_of
from imageserver.telemetry.instruments import (
    CACHE_RESULTS,
    FIRST_PREVIEW_SECONDS,
    REQUEST_SECONDS,
    STAGE_SECONDS,
)
from imageserver.telemetry.logs import current_credential, current_trace
from imageserver.telemetry.tracing.trace_header import trace_id_in

if TYPE_CHECKING:
    from imageserver.telemetry.tracing.generation_trace import GenerationTrace

T = TypeVar("T")

# W3C Trace Context.
TRACE_HEADERS = ("traceparent", "tracestate")
# The HTTP statuses from here on are failures of the server.
SERVER_ERRORS = 500


def trace_headers() -> dict[str, str]:
    """Return the headers with which the current request names its client's trace; nothing without a valid one."""
    if not has_request_context() or not trace_id_in(request.headers.get("traceparent", "")):
        return {}
    return {name: request.headers[name] for name in TRACE_HEADERS if name in request.headers}


class RequestTimes:
    """Observes a request while its updates pass, which may be when the request itself is over, as that of a task."""

    def __init__(self, service: Services, generation: Generation, arrived: float) -> None:
        """Measure from when the request `arrived`, on the monotonic clock."""
        self._trace_headers, self._trace_attributes = trace_headers(), _trace_attributes()
        self._service = service
        self._generation = generation
        self._arrived = arrived
        self._device = ""
        self._encoding = 0.0
        self._state = "cancelled"  # unless it ends otherwise
        self._error = ""
        self._left_to_next_attempt: tuple[type[ServiceError], ...] = ()
        self._trace: GenerationTrace | None = None

    def leave_to_next_attempt(self, errors: tuple[type[ServiceError], ...]) -> None:
        """Observe no end by one of these errors: another attempt follows, and is observed instead."""
        self._left_to_next_attempt = errors

    def follow(self, updates: Iterator[T]) -> Generator[T]:
        """Pass the updates on, and observe the first preview and the end; an error that is thrown in is an end, too."""
        previewed = is_retried = False
        self._begin_trace()
        try:
            for update in updates:
                if self._trace is not None:
                    self._trace.observe(update)
                if isinstance(update, PreviewImage) and not previewed:
                    previewed = True
                    self._service.measurements.observe(FIRST_PREVIEW_SECONDS, self._elapsed, *self._labels)
                yield update
        except Cancelled:
            raise
        except Exception as error:
            is_retried = isinstance(error, self._left_to_next_attempt)
            # No room for it, a quota, a wrong value: nothing that an operator would repair.
            refused = isinstance(error, ServiceError) and error.status < SERVER_ERRORS
            self._state = "refused" if refused else "failed"
            self._error = error.code if isinstance(error, ServiceError) else ServiceError.code
            raise
        finally:
            if not is_retried:
                self._observe_end()

    def record_encoding(self, seconds: float) -> None:
        self._encoding = seconds
        if self._trace is not None:
            self._trace.record_encoding(seconds)
        self._service.measurements.observe(STAGE_SECONDS, seconds, "encode", *self._labels, "completed")

    def record_device(self, name: str) -> None:
        self._device = name

    def log_fields(self, outcome: Outcome) -> dict[str, object]:
        """Return what a log line in JSON says of the generation: its device, its batch, its stages in seconds."""
        return {
            "device": self._device,
            "batch_size": outcome.batch_size,
            "queue_seconds": round(outcome.queue_time, 4),
            "stage_seconds": {name: round(seconds, 4) for name, seconds in _stages(outcome, self._encoding).items()},
        }

    def complete(self, outcome: Outcome, origin: str) -> None:
        """Record where the images came from, and let the response say how long each stage took."""
        self._state = "completed"
        # Captions are never cached.
        if self._generation.caption is None:
            self._service.measurements.count(CACHE_RESULTS, origin)
        if self._trace is not None:
            self._trace.record_images(outcome, origin)
        if has_request_context():
            g.server_timing = "cache;desc=hit" if origin == "hit" else server_timing(outcome, self._encoding)

    def _observe_end(self) -> None:
        self._service.measurements.observe(REQUEST_SECONDS, self._elapsed, *self._labels, self._state)
        if self._trace is not None:
            model, kind, _ = self._labels
            self._trace.end(self._state, self._error, {"image.model": model, "image.kind": kind})

    def _begin_trace(self) -> None:
        """Begin the trace where there is a collector, below the client's own where its request names one.

        Without a collector the log has the client's own.
        """
        if self._service.tracing is None:
            current_trace.set(trace_id_in(self._trace_headers.get("traceparent", "")))
            return
        attributes = self._trace_attributes
        if credential := current_credential.get():
            attributes = attributes | {"key": credential}
        self._trace = self._service.tracing.begin(self._generation, self._arrived, self._trace_headers, attributes)
        current_trace.set(self._trace.trace_id)

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._arrived

    @property
    def _labels(self) -> tuple[str, str, str]:
        # Not the name that the client sent, which may be anything.
        info = self._service.info_of(self._generation.model)
        return labels_of(self._generation, info.name if info else "")


def server_timing(outcome: Outcome, encoding: float) -> str:
    """Return the stages of a generation in milliseconds, as the header `Server-Timing` has them.

    Source: W3C Server Timing, https://www.w3.org/TR/server-timing/.
    """
    stages = {"queue": outcome.queue_time, **_stages(outcome, encoding)}
    return ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in stages.items())


def _trace_attributes() -> dict[str, str]:
    if not has_request_context() or request.url_rule is None:
        # A task that another process had accepted.
        return {}
    return {"http.request.method": request.method, "http.route": str(request.url_rule)}


def _stages(outcome: Outcome, encoding: float) -> dict[str, float]:
    spent = outcome.stage_seconds
    return {"text": spent.text, "denoise": spent.denoise, "decode": spent.decode, "encode": encoding}
