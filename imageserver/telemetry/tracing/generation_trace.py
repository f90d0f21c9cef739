"""The tree of spans of one generation: from the moments that its worker sees, and from the times in its outcome.

So the dispatcher and the engine need no OpenTelemetry, and their clocks need not agree.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode, Tracer, format_trace_id, set_span_in_context

from imageserver.generation import Outcome
from imageserver.protocol.messages import Progress, Queued, Started

STEPS_A_SPAN = 10
METHOD, ROUTE = "http.request.method", "http.route"


@dataclass(frozen=True)
class StageSpan:
    """One span below the request's; moments are seconds of the monotonic clock."""

    name: str
    process: str
    begin: float
    end: float


class GenerationTrace:
    """One generation: it observes the updates, and becomes spans at its end."""

    def __init__(self, tracer: Tracer, context: Context, arrived: float, attributes: Mapping[str, str | int]) -> None:
        self._tracer = tracer
        self._epoch = time.time() - time.monotonic()
        # A task that another process had accepted has no request.
        kind = SpanKind.SERVER if ROUTE in attributes else SpanKind.INTERNAL
        name = f"{attributes[METHOD]} {attributes[ROUTE]}" if ROUTE in attributes else "generation"
        self._root = tracer.start_span(name, context, kind, attributes, start_time=self._nanoseconds(arrived))
        self._queued = time.monotonic()
        self._began: float | None = None
        self._is_cached = False
        self._received = self._encoded = self._queued
        self._steps_done, self._steps_until = 0, 0.0
        self._stages: list[StageSpan] = []
        self._results: list[StageSpan] = []

    @property
    def trace_id(self) -> str:
        return format_trace_id(self._root.get_span_context().trace_id)

    def observe(self, update: object) -> None:
        """Record the moment of an update."""
        now = time.monotonic()
        match update:
            case Queued():
                self._queued = now
            case Started():
                # One that is run again after its engine died starts twice.
                self._began = self._steps_until = now
                self._steps_done, self._stages = 0, []
                self._root.set_attribute("device", update.device)
            case Progress():
                self._record_steps(update, now)

    def record_encoding(self, seconds: float) -> None:
        """Record that the images have just been encoded, for so many seconds."""
        self._encoded = time.monotonic()
        self._received = self._encoded - seconds

    def record_images(self, outcome: Outcome, origin: str) -> None:
        """Record the outcome of the engine, or of the cache (`hit`)."""
        self._root.set_attribute("cache", origin)
        if origin == "hit":
            self._is_cached = True
            return
        spent = outcome.stage_seconds
        # One that joined another may find it begun already.
        self._began = began = self._received - outcome.inference_time
        if self._stages:
            # It was not known when the text was done.
            first = self._stages[0]
            self._stages[0] = replace(first, begin=max(first.begin, min(began + spent.text, first.end)))
        self._results = [
            StageSpan("text", "engine", began, began + spent.text),
            StageSpan("decode", "engine", self._received - spent.decode, self._received),
            StageSpan("encode", "worker", self._received, self._encoded),
        ]
        self._root.set_attribute("batch_size", outcome.batch_size)

    def end(self, outcome: str, error: str, attributes: Mapping[str, str]) -> None:
        """Make the spans: of a request that is `completed`, `cancelled`, or `failed` or `refused` with this `error`."""
        now = time.monotonic()
        if not self._is_cached:
            self._make_span(StageSpan("queue", "dispatcher", self._queued, now if self._began is None else self._began))
        for stage in [*self._stages, *self._results]:
            self._make_span(stage)
        self._root.set_attributes({"outcome": outcome, **attributes})
        if error:
            self._root.set_attribute("error.type", error)
            self._root.set_status(StatusCode.ERROR)
        self._root.end(self._nanoseconds(now))

    def _record_steps(self, progress: Progress, now: float) -> None:
        """Make a stage of ten steps, or of the last ones."""
        step, done = progress.step, self._steps_done
        if step // STEPS_A_SPAN > done // STEPS_A_SPAN or step == progress.total:
            self._stages.append(StageSpan(f"steps {done + 1}-{step}", "engine", self._steps_until or now, now))
            self._steps_done, self._steps_until = step, now

    def _make_span(self, stage: StageSpan) -> None:
        below = set_span_in_context(self._root)
        span = self._tracer.start_span(
            stage.name, below, attributes={"process": stage.process}, start_time=self._nanoseconds(stage.begin)
        )
        span.end(self._nanoseconds(max(stage.begin, stage.end)))

    def _nanoseconds(self, moment: float) -> int:
        """Return a moment of the monotonic clock as nanoseconds since 1970."""
        return int((self._epoch + moment) * 1e9)
