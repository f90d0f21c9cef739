"""Simulate more engines than there are: `python -m benchmarks.scaling.simulation`.

`--measure` runs real servers with 1, 2 and 4 engines for it to be held against; `--chart FILE` plots the rest.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.scaling.simulation.comparison import Comparison, compare
from benchmarks.scaling.simulation.runs import measure, read_runs, write_runs
from benchmarks.scaling.simulation.study import capacity, dispatcher_uses, latencies

MEASURED_ENGINES = (1, 2, 4)


def main() -> int:
    """Compare, study and plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling.simulation", description=__doc__)
    parser.add_argument("--measure", action="store_true", help="measure the runs again")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long requests arrive in each of these")
    parser.add_argument("--seed", type=int, default=1, help="of their traffic")
    parser.add_argument("--chart", type=Path, help="study other loads and numbers of engines, and plot them here")
    chosen = parser.parse_args()
    if chosen.measure:
        write_runs([measure(engines, chosen.seconds, chosen.seed) for engines in MEASURED_ENGINES])
    for run in read_runs():
        print(_row(compare(run)), flush=True)
    if chosen.chart:
        _study(chosen.chart)
    return 0


def _row(found: Comparison) -> str:
    """Return a row of a Markdown table."""
    pairs = [
        f"{measured:.2f} s / {simulated:.2f} s ({ratio:.2f})"
        for measured, simulated, ratio in zip(
            vars(found.measured).values(), vars(found.simulated).values(), found.ratios, strict=True
        )
    ]
    return f"| {found.run.engines} | {len(found.run.arrivals)} | {' | '.join(pairs)} |"


def _study(file: Path) -> None:
    from benchmarks.scaling.simulation.charts import write_chart

    print(f"One engine that is always busy: {capacity():.2f} images/s.", flush=True)
    points, uses = latencies(), dispatcher_uses()
    for point in points:
        print(f"| {point.engines} | {point.load:g} | {point.p50:.1f} | {point.p95:.1f} | {point.p99:.1f} |")
    for use in uses:
        print(f"{use.engines} engines, {use.images:.1f} images/s: the dispatcher's own code takes {use.core:.1%}")
    write_chart(file, points, uses)


if __name__ == "__main__":
    sys.exit(main())
