"""What a process has measured: counters and histograms by their labels.

Not for several threads at a time. An observation takes about a microsecond.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from imageserver.protocol.messages import Series
from imageserver.telemetry.instruments import INSTRUMENTS, MAX_VALUES, OPEN_LABELS, OTHER, Instrument

Key = tuple[str, tuple[str, ...]]


@dataclass
class _Sum:
    counts: list[int]
    total: float = 0.0


class MetricRegistry:
    """Sums of what was observed; of labels with open values the first fifty are told apart, others are `other`."""

    def __init__(self) -> None:
        self._sums: dict[Key, _Sum] = {}
        self._values: defaultdict[str, set[str]] = defaultdict(set)

    def observe(self, histogram: Instrument, value: float, *labels: str) -> None:
        found = self._find(histogram, labels)
        found.counts[bisect_left(histogram.bounds, value)] += 1
        found.total += value

    def count(self, counter: Instrument, *labels: str, amount: float = 1.0) -> None:
        self._find(counter, labels).total += amount

    def series(self) -> tuple[Series, ...]:
        """Return everything since the start, or since the last `drain`."""
        return tuple(
            Series(name=name, labels=labels, counts=tuple(found.counts), total=found.total)
            for (name, labels), found in self._sums.items()
        )

    def drain(self) -> tuple[Series, ...]:
        """Return everything and begin again with nothing."""
        series = self.series()
        self._sums.clear()
        return series

    def add(self, series: Iterable[Series]) -> None:
        """Add what another process, or this one before, has measured; what is not known here is left out."""
        for each in series:
            instrument = INSTRUMENTS.get(each.name)
            if instrument is None or len(each.labels) != len(instrument.labels):
                continue
            found = self._find(instrument, each.labels)
            if len(each.counts) == len(found.counts):
                found.counts = [old + new for old, new in zip(found.counts, each.counts, strict=True)]
                found.total += each.total

    def _find(self, instrument: Instrument, labels: tuple[str, ...]) -> _Sum:
        found = self._sums.get((instrument.name, labels))
        if found is None:
            labels = tuple(map(self._bounded, instrument.labels, labels))
            buckets = len(instrument.bounds) + 1 if instrument.bounds else 0
            found = self._sums.setdefault((instrument.name, labels), _Sum([0] * buckets))
        return found

    def _bounded(self, label: str, value: str) -> str:
        if label not in OPEN_LABELS:
            return value
        known = self._values[label]
        if value not in known:
            if len(known) >= MAX_VALUES:
                return OTHER
            known.add(value)
        return value
