"""Measure several engines on one queue: `python -m benchmarks.scaling`.

Engines sleep along the published curve at its true time scale, without guidance, 512 x 512; the dispatcher, its
protocol and its processes are the real ones.
"""

import argparse
import sys

from benchmarks.scaling import decisions
from benchmarks.scaling.engines import Workload, measure

WARM_UP_SECONDS = 10.0
STEPS = 8
# Engines, and the clients at which they are compared with one.
COMPARED = ((2, 32), (8, 128))
# 10 steps per second of each of eight engines.
BUSY = Workload(engines=8, clients=8, steps=20, forward=0.1)


def main() -> int:
    """Print the times of decisions, the gain of several engines, and the dispatcher's share of a core."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each workload is measured")
    seconds = parser.parse_args().seconds
    decisions.report()
    for engines, clients in COMPARED:
        one, several = (measure(Workload(count, clients, STEPS), seconds, WARM_UP_SECONDS) for count in (1, engines))
        print(
            f"{clients} clients, {STEPS} steps: 1 engine {one.images:.2f} images/s, {engines} engines "
            f"{several.images:.2f}, {several.images / one.images:.2f} times; the dispatcher uses "
            f"{several.dispatcher:.1%} of a core",
            flush=True,
        )
    busy = measure(BUSY, seconds, WARM_UP_SECONDS)
    print(
        f"{BUSY.engines} engines, {busy.steps:.0f} steps/s in all: the dispatcher uses {busy.dispatcher:.1%} of a core"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
