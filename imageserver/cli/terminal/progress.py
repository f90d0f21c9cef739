"""A bar on standard error, where that is a terminal; lines of a log appear above it."""

import sys
from typing import IO

from tqdm import tqdm


class ProgressBar:
    """Shows how far something is, and keeps what a process writes out of its line."""

    def __init__(self, *, unit: str, quiet: bool = False) -> None:
        self.is_shown = not quiet and sys.stderr.isatty()
        self._bar = tqdm(total=None, unit=unit, disable=not self.is_shown, leave=False, dynamic_ncols=True)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, done: float, total: float, doing: str) -> None:
        """Show that `done` of `total` are done, and a word for what is being done."""
        if self.is_shown:
            self._bar.total = total or None
            self._bar.n = done
            self._bar.set_description_str(doing, refresh=False)
            self._bar.refresh()

    def write_lines(self, lines: IO[str]) -> None:
        """Write what comes from a process above the bar until it ends; for a thread."""
        for line in lines:
            tqdm.write(line.rstrip("\n"), file=sys.stderr)
