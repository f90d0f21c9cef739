"""Every fault in the table has a test, or says that it has none, and no marker names a row that does not exist."""

import re

import pytest

from tests.faults.__main__ import FaultResults, rows_in
from tests.faults.table import FAULTS
from tests.support.paths import ROOT

MARKER = re.compile(r"^@pytest\.mark\.fault\((\d+)\)$", re.MULTILINE)


def marked_rows() -> set[int]:
    return {
        int(number)
        for file in (ROOT / "tests").rglob("test_*.py")
        for number in MARKER.findall(file.read_text(encoding="utf-8"))
    }


def test_every_row_of_the_table_has_a_test_or_says_what_is_missing() -> None:
    untested = set(FAULTS) - marked_rows()
    assert {number for number in untested if not FAULTS[number].open} == set()


def test_every_marker_names_a_row() -> None:
    assert marked_rows() <= set(FAULTS)


def test_the_numbers_have_no_gap() -> None:
    assert sorted(FAULTS) == list(range(1, len(FAULTS) + 1))


def test_a_row_is_left_out_only_where_it_says_why_and_its_tests_were_skipped() -> None:
    results = FaultResults(set(FAULTS))
    results.tests = {33: ["a"], 34: ["a"], 10: ["b"]}
    results.outcomes = {"a": "skipped", "b": "failed"}
    assert [number for number in results.tests if results.is_left_out(number)] == [33]


def test_all_rows_are_run_unless_some_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert rows_in([]) == set(FAULTS)
    assert rows_in(["3", "11"]) == {3, 11}
    with pytest.raises(SystemExit):
        rows_in(["99"])
    assert "no row 99" in capsys.readouterr().err
