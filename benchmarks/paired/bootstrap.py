"""How far a figure would be another one if the same were measured again.

Source: Efron, Bootstrap Methods, Annals of Statistics 7 (1979); here the percentile interval.
"""

import random
from collections.abc import Callable, Sequence

from benchmarks.percentiles import percentile

RESAMPLES = 1000
# Percentiles of the figure over the resamples: 95 % lie between.
LOW, HIGH = 2.5, 97.5


def bootstrap_interval(
    figure: Callable[..., float], *samples: Sequence[float], seed: int = 1
) -> tuple[float, float]:  # fmt: skip
    """Return between which values a figure of these samples lies with 95 %; each is resampled by itself."""
    chance = random.Random(seed)
    figures = [
        figure(*(chance.choices(sample, k=len(sample)) for sample in samples)) for _ in range(RESAMPLES)
    ]  # fmt: skip
    return percentile(figures, LOW), percentile(figures, HIGH)
