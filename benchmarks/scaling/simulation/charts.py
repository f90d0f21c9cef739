"""The chart of docs/scaling.md: latency against load, and what the dispatcher needs."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from benchmarks.scaling.simulation.study import DispatcherUse, Point

SHOWN_SECONDS = (1, 2, 3, 5, 10, 20, 30)


def write_chart(file: Path, points: Sequence[Point], uses: Sequence[DispatcherUse]) -> None:
    """Plot a study."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.4, 3.6))
    for index, engines in enumerate(sorted({point.engines for point in points})):
        found = [point for point in points if point.engines == engines]
        loads, colour = [point.load for point in found], f"C{index}"
        left.plot(loads, [point.p95 for point in found], "-", color=colour, label=f"{engines}")
        left.plot(loads, [point.p50 for point in found], ":", color=colour)
    left.set_yscale("log")
    left.yaxis.set_major_locator(FixedLocator(SHOWN_SECONDS))
    left.yaxis.set_minor_locator(NullLocator())
    left.yaxis.set_major_formatter(ScalarFormatter())
    left.set_xlabel("load: share of the engines' capacity", fontsize=8)
    left.set_ylabel("latency in seconds (line: p95, dots: p50)", fontsize=8)
    left.legend(title="engines", fontsize=8, title_fontsize=8, frameon=False)
    right.plot([use.engines for use in uses], [100 * use.core for use in uses], "o-", color="#d9480f")
    right.set_xlabel("engines, at 0.7 of their capacity", fontsize=8)
    right.set_ylabel("% of a core, the dispatcher's own code", fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
    figure.suptitle("Bursty mixed traffic, simulated with the published curve of Qwen-Image on an H200", fontsize=10)
    figure.tight_layout()
    figure.savefig(file, dpi=130)
    plt.close(figure)
