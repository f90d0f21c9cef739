"""Summaries of measurements."""

import pytest

from benchmarks.percentiles import percentile, summary


def test_percentiles_are_linear_between_ranks() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 50) == 2.5
    assert percentile(list(range(101)), 99) == 99
    assert percentile([7.0], 99) == 7.0


def test_a_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError):
        percentile([], 50)


def test_a_summary_has_everything_that_is_shown() -> None:
    assert summary([1.0, 2.0, 3.0]) == {"count": 3, "mean": 2.0, "p50": 2.0, "p95": 2.9, "p99": 2.98, "max": 3.0}
