"""Measure what OpenMP's waiting threads cost: `python -m benchmarks.waiting_threads`, on a machine with few cores.

One `pipe()` of the demo model per policy, each in its own process, takes one image after the other in turns, alone and
beside a neighbour that keeps one core busy. Who waits for a turn is stopped: its threads would spin meanwhile.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.conditions import Conditions
from benchmarks.environment import ROOT
from benchmarks.machine import describe_machine
from benchmarks.servers.bare import BarePipeline
from benchmarks.servers.process import clean_environment
from benchmarks.traffic import RequestSource

# None is OpenMP's own default, which spins for a moment before it sleeps.
POLICIES = ("PASSIVE", "ACTIVE", None)
NEIGHBOUR = [sys.executable, "-c", "while True: pass"]

Seconds = dict[str | None, list[float]]


def alternate(pipelines: dict[str | None, BarePipeline], rounds: int, steps: int) -> Seconds:
    """Return the seconds of each policy's images; every round begins with another one."""
    requests, seconds = RequestSource(seed=700), Seconds({policy: [] for policy in pipelines})
    order = list(pipelines)
    for _ in range(rounds):
        wanted = requests.next((steps,))
        for policy in order:
            with pipelines[policy].awake():
                seconds[policy].append(pipelines[policy].generate(wanted))
        order = [*order[1:], order[0]]
    return seconds


@contextlib.contextmanager
def busy_neighbour() -> Iterator[None]:
    """Keep one core busy with another process."""
    neighbour = subprocess.Popen(NEIGHBOUR)
    try:
        yield
    finally:
        neighbour.kill()
        neighbour.wait()


def opened(policies: tuple[str | None, ...], stack: contextlib.ExitStack) -> dict[str | None, BarePipeline]:
    """Return a pipeline for each policy, which has generated once and is stopped."""
    environment = {name: value for name, value in clean_environment().items() if name != "OMP_WAIT_POLICY"}
    pipelines = {}
    for policy in policies:
        conditions = Conditions("demo", ROOT / "imageserver" / "demo_model", wait_policy=policy)
        pipelines[policy] = stack.enter_context(BarePipeline(conditions, environment))
        pipelines[policy].generate(RequestSource(seed=701).next((2,)))
        pipelines[policy].stop()
    return pipelines


def table_of(alone: Seconds, beside: Seconds) -> str:
    """Return medians, their ratios to those of PASSIVE, and the shortest times as a Markdown table."""
    rows = ["| `OMP_WAIT_POLICY` | alone | beside a busy core |", "| --- | --- | --- |"]
    for policy in alone:
        cells = [_cell(each[policy], each["PASSIVE"]) for each in (alone, beside)]
        rows.append(f"| {policy or 'not set'} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(seconds: list[float], passive: list[float]) -> str:
    median = statistics.median(seconds)
    return f"{median:.2f} s, {median / statistics.median(passive):.2f}× (shortest {min(seconds):.2f} s)"


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting_threads", description=__doc__)
    parser.add_argument("--rounds", type=int, default=12, help="images of each policy, alone and beside the neighbour")
    parser.add_argument("--steps", type=int, default=4, help="steps of each image of 512x512, without guidance")
    chosen = parser.parse_args()
    machine = describe_machine()
    with contextlib.ExitStack() as stack:
        pipelines = opened(POLICIES, stack)
        alone = alternate(pipelines, chosen.rounds, chosen.steps)
        load = os.getloadavg()[0]
        with busy_neighbour():
            beside = alternate(pipelines, chosen.rounds, chosen.steps)
    print(
        f"{machine['date']}, {machine['commit']}: {machine['processor']}, {machine['cores']} cores, {machine['system']}"
    )
    print(
        f"torch {machine['packages']['torch']}; load {machine['load_before']} before, {load:.2f} before the neighbour."
    )
    print(table_of(alone, beside))
    return 0


if __name__ == "__main__":
    sys.exit(main())
