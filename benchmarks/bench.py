"""A benchmark of one device: its servers, how much is measured, and the results."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.conditions import Conditions
from benchmarks.figures import Bar, Figure
from benchmarks.servers import KINDS
from benchmarks.servers.fleet import Fleet
from benchmarks.servers.kind import Kind


@dataclass(frozen=True)
class MeasurementPlan:
    """The number and length of the measurements."""

    clients: int = 16
    rounds: int = 2
    # Seconds that a server is under load in one round.
    slice_seconds: float = 10.0
    # Seconds of arrivals in one round of the traffic scenario, below and above saturation.
    traffic_seconds: tuple[float, float] = (22.0, 12.0)
    pairs: int = 8
    repeats: int = 5


QUICK = MeasurementPlan(rounds=1, slice_seconds=3.0, traffic_seconds=(5.0, 3.0), pairs=2, repeats=2)


@dataclass
class Bench:
    """One device under measurement; `measurements` are the raw values behind the figures, for the charts."""

    conditions: Conditions
    plan: MeasurementPlan
    fleet: Fleet
    folder: Path
    only: Sequence[str] = ()
    figures: list[Figure] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    measurements: dict[str, Any] = field(default_factory=dict)

    @property
    def kinds(self) -> list[Kind]:
        """The selected servers that are installed here."""
        return [kind for kind in KINDS if kind.is_installed and (not self.only or kind.letter in self.only)]

    def record(self, scenario: str, what: str, value: float, unit: str, bar: Bar | None = None, note: str = "") -> None:
        """Record a figure and print it."""
        figure = Figure(scenario, self.conditions.device, what, value, unit, bar, note)
        self.figures.append(figure)
        print(f"  {what}: {figure.shown_value} {figure.shown_bar} {figure.outcome}".rstrip(), flush=True)
