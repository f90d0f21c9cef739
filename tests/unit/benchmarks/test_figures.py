"""Figures, their bars, the table, and the page they are written into."""

from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.figures import Figure, at_least, at_most
from benchmarks.results import Results, read_results
from benchmarks.table import markdown_table, plain_table

REACHED = Figure("throughput", "simulated", "ours / plain (a)", 3.31, "x", at_least(3.3))
MISSED = Figure("idle", "simulated", "device idle", 2.04, "%", at_most(2.0), "mean batch 7.9")
PLAIN = Figure("throughput", "demo", "16 clients, ours", 12.34, "/s")


def test_a_bar_is_reached_from_its_own_side_only() -> None:
    assert (REACHED.outcome, MISSED.outcome, PLAIN.outcome) == ("reached", "not reached", "")
    assert at_most(2.0).is_reached(2.0)
    assert at_least(2.0).is_reached(2.0)


def test_values_are_shown_with_their_units() -> None:
    assert [figure.shown_value for figure in (REACHED, MISSED, PLAIN)] == ["3.31×", "2.04 %", "12.3/s"]
    assert [figure.shown_bar for figure in (REACHED, MISSED, PLAIN)] == ["≥ 3.30×", "≤ 2.00 %", ""]


def test_the_table_has_a_line_per_figure_and_aligned_columns() -> None:
    lines = plain_table([REACHED, MISSED, PLAIN]).splitlines()
    assert len(lines) == 4
    assert len({line.index(word) for line, word in zip(lines, ("value", "3.31", "2.04", "12.3"), strict=True)}) == 1


def test_a_missed_bar_stands_out_in_the_page() -> None:
    assert "**not reached**" in markdown_table([MISSED])


def results() -> Results:
    machine = {
        "date": "2026-11-21T05:00:00+00:00", "processor": "A processor", "cores": 2, "memory_gib": 23.0,
        "system": "Linux", "python": "3.11.7", "load_before": 0.1, "commit": "abc", "packages": {"torch": "2.13.0"},
    }  # fmt: skip
    conditions = {
        "command": "python -m benchmarks", "seconds": 840, "rounds": 2, "slice_seconds": 10.0, "clients": 16,
        "time_scale": 0.25,
    }  # fmt: skip
    return Results(machine, conditions, [REACHED, MISSED, PLAIN], {"simulated": {"throughput": {}}})


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_results(results().write(tmp_path)) == results()


def test_the_page_keeps_everything_outside_its_markers() -> None:
    page = f"before\n{report.MARKERS[0]}\nnot measured yet\n{report.MARKERS[1]}\nafter\n"
    filled = report.fill(page, report.block_of(results(), "../benchmarks/results"))
    assert filled.startswith("before\n")
    assert filled.endswith("\nafter\n")
    assert "not measured yet" not in filled
    assert "| 3.31× | ≥ 3.30× | reached |" in filled
    assert "(../benchmarks/results/throughput.png)" in filled
    assert report.fill(filled, "again").count(report.MARKERS[0]) == 1


def test_a_page_without_markers_is_an_error() -> None:
    with pytest.raises(ValueError):
        report.fill("no markers", "block")


def test_the_documentation_has_the_markers() -> None:
    report.fill(report.PAGE.read_text(encoding="utf-8"), "block")
