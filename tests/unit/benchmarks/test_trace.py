"""Traces: written by an engine, read by scenarios."""

from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.trace import Span, TraceFile, idle_share, read_trace


def test_a_trace_is_read_as_it_was_written(tmp_path: Path) -> None:
    with closing(TraceFile(tmp_path / "trace.jsonl")) as trace:
        trace.forward(1.0, 2.0, [(7, 0), (8, 1)])
    assert read_trace(tmp_path / "trace.jsonl") == [Span("forward", 1.0, 2.0, ((7, 0), (8, 1)))]


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    with closing(TraceFile(file)) as trace:
        trace.forward(1.0, 2.0, [(7, 0)])
    with file.open("a") as more:
        more.write('{"kind": "forw')
    assert len(read_trace(file)) == 1


def test_a_trace_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    assert read_trace(tmp_path / "none.jsonl") == []


def test_a_recorded_method_still_does_its_work(tmp_path: Path) -> None:
    class Decoder:
        def decode(self, value: int) -> int:
            return value + 1

    clock = iter([2.0, 5.0])
    with closing(TraceFile(tmp_path / "trace.jsonl", lambda: next(clock))) as trace:
        trace.record(Decoder, "decode", "decode")
        assert Decoder().decode(1) == 2
    (span,) = read_trace(tmp_path / "trace.jsonl")
    assert span == Span("decode", 2.0, 5.0)


def test_a_recorded_span_begins_and_ends_with_the_work_of_the_device_and_not_with_its_queue(tmp_path: Path) -> None:
    now, queued = 0.0, 3.0  # seconds of work that was given to the device before

    class QueuingDecoder:
        def decode(self) -> None:
            nonlocal queued
            queued += 5.0

    def wait() -> None:
        nonlocal now, queued
        now, queued = now + queued, 0.0

    with closing(TraceFile(tmp_path / "trace.jsonl", lambda: now, wait)) as trace:
        trace.record(QueuingDecoder, "decode", "decode")
        QueuingDecoder().decode()
    assert read_trace(tmp_path / "trace.jsonl") == [Span("decode", 3.0, 8.0)]


@pytest.mark.parametrize(
    ("spans", "share"),
    [
        ([], 1.0),
        ([(0.0, 10.0)], 0.0),
        ([(2.0, 4.0), (3.0, 5.0)], 0.7),  # work inside other work counts once
        ([(-5.0, 1.0), (9.0, 20.0)], 0.8),  # only what lies inside the window counts
    ],
)
def test_idle_is_what_no_span_covers(spans: list[tuple[float, float]], share: float) -> None:
    assert idle_share([Span("forward", *span) for span in spans], 0.0, 10.0) == pytest.approx(share)
