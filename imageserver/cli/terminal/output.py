"""Text for people and JSON for programs on standard output."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from imageserver.telemetry.logs import escape

TICK, CROSS = "\N{CHECK MARK}", "\N{BALLOT X}"
GREEN, YELLOW, RED = 32, 33, 31
COLOURS = {"ok": GREEN, "warning": YELLOW, "problem": RED}
SIGNS = {"ok": TICK, "warning": "!", "problem": CROSS}


def print_json(document: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows below each other; nothing is cut or wrapped, so that paths can be copied.

    Cells may hold what others have written: their control characters would command the terminal.
    """
    lines = [list(header), *[["" if cell is None else escape(str(cell)) for cell in row] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def with_sign(state: str, text: str, output: TextIO) -> str:
    """Return a text with the colour and the sign of a state where it goes to a terminal, otherwise as it is."""
    if not output.isatty():
        return text
    signed = f"{SIGNS[state]} {text}"
    return signed if os.environ.get("NO_COLOR") else f"\x1b[{COLOURS[state]}m{signed}\x1b[0m"


def is_confirmed(question: str) -> bool:
    """Return whether a person says yes; without a terminal there is nobody to ask, which is a no."""
    if not sys.stdin.isatty():
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
