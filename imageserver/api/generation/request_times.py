"""The times of one request for a generation: how long its client waited, for what, and how it ended."""

import time
from collections.abc import Iterator
from typing import TypeVar

from flask import g, has_request_context

from imageserver.api.services import Services
from imageserver.dispatch.client.ticket import PreviewImage
from imageserver.errors import Cancelled
from imageserver.generation import Generation, Outcome
from imageserver.telemetry.generation_labels import labels_of
from imageserver.telemetry.instruments import (
    CACHE_RESULTS,
    FIRST_PREVIEW_SECONDS,
    REQUEST_SECONDS,
    STAGE_SECONDS,
)

T = TypeVar("T")


class RequestTimes:
    """Observes a request while its updates pass."""

    def __init__(self, service: Services, generation: Generation, arrived: float) -> None:
        """Measure from when the request `arrived`, on the monotonic clock."""
        self._service = service
        self._generation = generation
        self._arrived = arrived
        self._device = ""
        self._encoding = 0.0
        self._state = "cancelled"  # unless it ends otherwise

    def follow(self, updates: Iterator[T]) -> Iterator[T]:
        """Pass the updates on, and observe the first preview and the end."""
        previewed = False
        try:
            for update in updates:
                if isinstance(update, PreviewImage) and not previewed:
                    previewed = True
                    self._service.measurements.observe(FIRST_PREVIEW_SECONDS, self._elapsed, *self._labels)
                yield update
        except Cancelled:
            raise
        except Exception:
            self._state = "failed"
            raise
        finally:
            self._service.measurements.observe(REQUEST_SECONDS, self._elapsed, *self._labels, self._state)

    def record_encoding(self, seconds: float) -> None:
        self._encoding = seconds
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
        self._service.measurements.count(CACHE_RESULTS, origin)
        if has_request_context():
            g.server_timing = "cache;desc=hit" if origin == "hit" else server_timing(outcome, self._encoding)

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


def _stages(outcome: Outcome, encoding: float) -> dict[str, float]:
    spent = outcome.stage_seconds
    return {"text": spent.text, "denoise": spent.denoise, "decode": spent.decode, "encode": encoding}
