"""Read the pages of the docs: their code blocks and tables."""

import itertools
import re
import textwrap
from pathlib import Path

from tests.support.paths import ROOT

PAGES = sorted(
    page for folder in (".", "docs/**", "benchmarks/**", "imageserver/**") for page in ROOT.glob(f"{folder}/*.md")
)
# Those of lists are indented; more than the language may follow a fence.
BLOCK = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the (language, content) of every fenced block."""
    return [(match[1], textwrap.dedent(match[2])) for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]


def without_blocks(page: Path) -> str:
    """Return the text of a page without its fenced blocks."""
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def rows_of(page: Path, first_header: str) -> list[list[str]]:
    """Return the cells of all tables of a page whose first column has this header."""
    lines = page.read_text(encoding="utf-8").splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(f"| {first_header} |")]
    rows = []
    for start in starts:
        for line in itertools.takewhile(lambda line: line.startswith("|"), lines[start + 2 :]):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows
