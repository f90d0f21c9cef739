"""Text for people and JSON for programs, in which what others have written commands no terminal."""

import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from imageserver.telemetry.logs import escape

TICK, CROSS = "\N{CHECK MARK}", "\N{BALLOT X}"
GREEN, YELLOW, RED = 32, 33, 31
COLOURS = {"ok": GREEN, "warning": YELLOW, "problem": RED}
SIGNS = {"ok": TICK, "warning": "!", "problem": CROSS}

# JSON escapes the control characters below the blank alone; surrogates cannot be encoded.
UNPRINTABLE = re.compile(r"[\x7f-\x9f\ud800-\udfff]")


def print_json(document: Any) -> None:
    """Print one JSON document."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    print(UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def print_line(text: str, output: TextIO | None = None) -> None:
    """Print a line on standard output, or another one, with its control characters escaped."""
    print(escape(text), file=output, flush=True)


def print_state(state: str, text: str, rest: str) -> None:
    """Print a line that begins with a state, escaped as all others."""
    print(f"{with_sign(state, text, sys.stdout)}{escape(rest)}", flush=True)


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows below each other; nothing is cut or wrapped, so that paths can be copied."""
    lines = [list(header), *[["" if cell is None else escape(str(cell)) for cell in row] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def with_sign(state: str, text: str, output: TextIO) -> str:
    """Return a text, control characters escaped; with colour and sign of a state where it goes to a terminal."""
    if not output.isatty():
        return escape(text)
    signed = f"{SIGNS[state]} {escape(text)}"
    return signed if os.environ.get("NO_COLOR") else f"\x1b[{COLOURS[state]}m{signed}\x1b[0m"


def is_confirmed(question: str) -> bool:
    """Return whether a person says yes; without a terminal there is nobody to ask, which is a no."""
    if not sys.stdin.isatty():
        return False
    print(f"{escape(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
