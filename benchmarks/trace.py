"""A trace: one JSON line for every span of device work, written by an engine and read by scenarios and the timeline."""

import functools
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Span:
    """Device work from `began` to `ended` (monotonic seconds); a forward names the (job, image) of each call."""

    kind: str
    began: float
    ended: float
    calls: tuple[tuple[int, int], ...] = ()


class TraceFile:
    """Appends spans to a file, each at once, so that a reader sees them while the engine works.

    `wait` returns when the device has done what it was given: a recorded method only queues its work on a card.
    """

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.monotonic, wait: Callable[[], None] = lambda: None
    ) -> None:
        self._clock = clock
        self._wait = wait
        self._file = path.open("a", buffering=1)

    def forward(self, began: float, ended: float, calls: Sequence[tuple[int, int]]) -> None:
        """Write a forward; this is the engine's `trace`."""
        self._write("forward", began, ended, calls)

    def record(self, owner: Any, method: str, kind: str) -> None:
        """Write a span of `kind` whenever `owner.method` runs."""
        original: Callable[..., Any] = getattr(owner, method)

        @functools.wraps(original)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            # Else the span would begin with the work that was queued before.
            self._wait()
            began = self._clock()
            try:
                return original(*args, **kwargs)
            finally:
                self._wait()
                self._write(kind, began, self._clock(), ())

        setattr(owner, method, recorded)

    def close(self) -> None:
        """Close the file; an engine never does, because it ends with its process."""
        self._file.close()

    def _write(self, kind: str, began: float, ended: float, calls: Sequence[tuple[int, int]]) -> None:
        self._file.write(json.dumps({"kind": kind, "began": began, "ended": ended, "calls": calls}) + "\n")


def read_trace(path: Path) -> list[Span]:
    """Return the spans of a trace; a last line that is still being written is left out."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [
        Span(entry["kind"], entry["began"], entry["ended"], tuple((job, index) for job, index in entry["calls"]))
        for entry in map(json.loads, lines)
    ]


def idle_share(spans: Iterable[Span], began: float, ended: float) -> float:
    """Return the share of the time from `began` to `ended` in which no span was at work."""
    busy, reached = 0.0, began
    for span in sorted(spans, key=lambda span: span.began):
        start, end = max(span.began, reached), min(span.ended, ended)
        if end > start:
            busy += end - start
            reached = end
    return 1 - busy / (ended - began)
