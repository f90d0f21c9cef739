"""Measured values and the limits that they must keep."""

from dataclasses import dataclass
from typing import Literal

from benchmarks.conditions import Device


@dataclass(frozen=True)
class Bar:
    """A limit that a value must keep."""

    limit: float
    direction: Literal["at least", "at most"]

    def is_reached(self, value: float) -> bool:
        """Whether the value keeps the limit."""
        return value >= self.limit if self.direction == "at least" else value <= self.limit


@dataclass(frozen=True)
class Figure:
    """One measured value; `unit` is `s`, `ms`, `%`, `x` (a ratio), `/s` or `steps`. Without a bar it only informs."""

    scenario: str
    device: Device
    what: str
    value: float
    unit: str
    bar: Bar | None = None
    note: str = ""

    @property
    def outcome(self) -> str:
        """`reached`, `not reached`, or an empty string without a bar."""
        if self.bar is None:
            return ""
        return "reached" if self.bar.is_reached(self.value) else "not reached"

    @property
    def shown_value(self) -> str:
        """The value with its unit."""
        return shown(self.value, self.unit)

    @property
    def shown_bar(self) -> str:
        """The bar in signs."""
        if self.bar is None:
            return ""
        return f"{'≥' if self.bar.direction == 'at least' else '≤'} {shown(self.bar.limit, self.unit)}"


def at_least(limit: float) -> Bar:
    """Return a lower limit."""
    return Bar(limit, "at least")


def at_most(limit: float) -> Bar:
    """Return an upper limit."""
    return Bar(limit, "at most")


def shown(value: float, unit: str) -> str:
    """Return a value with three significant digits and its unit."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return {
        "x": f"{value:.{digits}f}×",
        "%": f"{value:.{digits}f} %",
        "/s": f"{value:.{digits}f}/s",
    }.get(unit, f"{value:.{digits}f} {unit}")
