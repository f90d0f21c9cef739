"""The timeline image."""

from pathlib import Path

import pytest
from PIL import Image

from benchmarks.timeline import plot_timeline
from benchmarks.trace import Span


def test_a_trace_becomes_an_image(tmp_path: Path) -> None:
    spans = [
        Span("forward", 0.0, 0.2, ((1, 0),)),
        Span("decode", 0.2, 0.3),
        Span("forward", 0.3, 0.4, ((1, 0), (2, 0))),
    ]
    plot_timeline(spans, tmp_path / "timeline.png", ["a long one", "a short one"])
    with Image.open(tmp_path / "timeline.png") as image:
        assert min(image.size) > 200


def test_a_trace_without_forwards_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        plot_timeline([Span("decode", 0.0, 1.0)], tmp_path / "timeline.png")
