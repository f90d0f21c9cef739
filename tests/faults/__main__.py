"""Run the tests of the table of faults, or of some of its rows, and print it: `python -m tests.faults 3 11`.

Exits with 0 if every row that was asked for has a test and all of them passed; rows that nothing shows are named, and
those whose tests need QIS_FULL=1 are no failure.
"""

import argparse
import collections
import sys

import pytest

from tests.faults.table import FAULTS
from tests.support.paths import ROOT

MARKER = "mark.fault("


class FaultResults:
    """A plugin that keeps only the tests of the rows asked for, and remembers how each ended."""

    def __init__(self, rows: set[int]) -> None:
        self.rows = rows
        self.tests: dict[int, list[str]] = collections.defaultdict(list)
        self.outcomes: dict[str, str] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        for item in list(items):
            numbers = {mark.args[0] for mark in item.iter_markers("fault")} & self.rows
            for number in numbers:
                self.tests[number].append(item.nodeid)
            if not numbers:
                items.remove(item)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.nodeid] = report.outcome

    def seen(self, number: int) -> dict[str, list[str]]:
        """Return the outcomes of a test, of all its parameters together, by its name as a sentence."""
        seen = collections.defaultdict(list)
        for node in self.tests[number]:
            sentence = node.partition("::")[2].partition("[")[0].removeprefix("test_").replace("_", " ")
            seen[sentence].append(self.outcomes.get(node, "not run"))
        return seen

    def is_left_out(self, number: int) -> bool:
        """Return whether a row says what it lacks, and all its tests were skipped for that."""
        outcomes = {outcome for each in self.seen(number).values() for outcome in each}
        return bool(FAULTS[number].open) and outcomes == {"skipped"}


def marked_files() -> list[str]:
    return [str(file) for file in sorted((ROOT / "tests").rglob("test_*.py")) if MARKER in file.read_text("utf-8")]


def show(number: int, results: FaultResults) -> bool:
    """Print a row; return whether a test has proved it and none has failed."""
    fault, seen = FAULTS[number], results.seen(number)
    print(f"\n{number:>3}  {fault.what}\n     expected: {fault.expected}")
    for sentence, outcomes in seen.items():
        counted = ", ".join(f"{count} {outcome}" for outcome, count in collections.Counter(outcomes).items())
        print(f"     done: {sentence}\n     seen: {counted}")
    if fault.open:
        print(f"     not shown yet: {fault.open}")
    outcomes = [outcome for each in seen.values() for outcome in each]
    return "passed" in outcomes and not {"failed", "not run"} & set(outcomes)


def rows_in(arguments: list[str]) -> set[int]:
    """Return the rows that the command line names, all without any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", type=int, help="numbers (default: all)")
    rows = set(parser.parse_args(arguments).rows or FAULTS)
    # Not by `choices`: Python 3.11 takes no number for one that is none of them.
    if unknown := rows - FAULTS.keys():
        parser.error(f"the table has no row {', '.join(map(str, sorted(unknown)))}")
    return rows


def main() -> int:
    results = FaultResults(rows_in(sys.argv[1:]))
    pytest.main([*marked_files(), "-q", "-p", "no:randomly"], plugins=[results])
    shown = {number: show(number, results) for number in sorted(results.rows)}
    missing = [number for number, is_proved in shown.items() if not is_proved]
    print(f"\n{len(shown) - len(missing)} of {len(shown)} rows are proved; not: {missing or 'none'}")
    return 1 if any(not results.is_left_out(number) for number in missing) else 0


if __name__ == "__main__":
    sys.exit(main())
