"""The figures as a table, for the terminal and for Markdown."""

from collections.abc import Sequence

from benchmarks.figures import Figure

HEADINGS = ("device", "scenario", "measured", "value", "bar", "outcome")


def rows(figures: Sequence[Figure]) -> list[tuple[str, ...]]:
    """Return one row of text per figure."""
    return [
        (
            figure.device,
            figure.scenario,
            figure.what + (f" ({figure.note})" if figure.note else ""),
            figure.shown_value,
            figure.shown_bar,
            figure.outcome,
        )
        for figure in figures
    ]


def plain_table(figures: Sequence[Figure]) -> str:
    """Return columns padded with blanks."""
    lines = [HEADINGS, *rows(figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def markdown_table(figures: Sequence[Figure]) -> str:
    """Return a table of Markdown; a missed bar is in bold type."""
    lines = [HEADINGS, ("---",) * len(HEADINGS)]
    lines += [tuple(f"**{cell}**" if cell == "not reached" else cell for cell in row) for row in rows(figures)]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)
