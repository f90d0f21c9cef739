"""Whether something has grown: where it stands at the end against its level after the warm-up, and its slope."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# Younger processes say nothing.
MIN_SAMPLES = 20


@dataclass(frozen=True)
class Sample:
    """A size when so many generations were done, at a moment of the monotonic clock."""

    done: int
    moment: float
    value: float


@dataclass(frozen=True)
class Tolerance:
    """How much higher a size may end than it stood: a share of it, and so many units."""

    share: float
    units: float

    def of(self, level: float) -> float:
        return self.share * level + self.units


@dataclass(frozen=True)
class Growth:
    """The level after the warm-up, the one at the end, and what a straight line through all samples between adds."""

    before: float
    after: float
    by_line: float

    def exceeds(self, tolerance: Tolerance) -> bool:
        """Whether it ends higher than allowed, or its line rises by more: a leak may hide under the last peak."""
        allowed = tolerance.of(self.before)
        return self.after - self.before > allowed or self.by_line > allowed


def growth_of(samples: Sequence[Sample], warm_up: int) -> Growth | None:
    """Return the growth once `warm_up` generations were done in the sampled life, None of a short life."""
    first = samples[0].done
    warm = [sample for sample in samples if sample.done - first >= warm_up]
    if len(warm) < MIN_SAMPLES:
        return None
    tenth = max(1, len(warm) // 10)
    before, after = (statistics.median(sample.value for sample in part) for part in (warm[:tenth], warm[-tenth:]))
    line = statistics.linear_regression([sample.done for sample in warm], [sample.value for sample in warm])
    return Growth(before, after, line.slope * (warm[-1].done - warm[0].done))
