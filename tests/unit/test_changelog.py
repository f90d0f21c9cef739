"""Every version of the changelog begins with what an operator must do."""

import re

from tests.support.paths import ROOT

HEADING = "What an operator must do"


def versions_without(text: str) -> list[str]:
    """Return the versions whose first list is another one, or empty."""
    title, *versions = re.split(r"^## ", text, flags=re.MULTILINE)
    assert title.startswith("# Changelog")
    # Its line with the date, one sentence of purpose, and the lists.
    return [text.split()[0] for text in versions if not re.match(rf".*\n\n.*\n\n{HEADING}\n- \S", text)]


def test_every_version_says_what_an_operator_must_do():
    assert versions_without((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")) == []


def test_a_version_that_does_not_is_found():
    told, silent = f"1.0.0 (2027)\n\nIt is out.\n\n{HEADING}\n- Nothing.\n\n", "0.2.0 (2027)\n\nMore.\n\n- A fix.\n\n"
    assert versions_without(f"# Changelog\n\n## {told}## {silent}## {told}") == ["0.2.0"]
