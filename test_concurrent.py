"""Compare requests sent one after the other with the same number sent at once: a table and, optionally, a chart.

    python test_concurrent.py --requests 8 --concurrency 4 --chart comparison.png

A script for people, not a test of the test suite. Every request has its own seed, so that the cache answers none of
them, and one request before the measurement warms the server up.
"""

import importlib
import importlib.util
import random
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from test_client import CROSS, TICK, CheckError, Client, coloured, common_arguments, complain, marked, png_size

# So that no package of the server changes its version.
CONSTRAINTS = Path(__file__).resolve().parent / "constraints.txt"


@dataclass(frozen=True)
class Measurement:
    """One run of all requests: the seconds that each took, and that all took together."""

    name: str
    latencies: list[float]
    failures: list[str]
    wall_time: float

    @property
    def images_per_second(self) -> float:
        """Return how many images arrived per second of wall time."""
        return len(self.latencies) / self.wall_time

    def percentile(self, percent: int) -> float:
        """Return the time within which `percent` of the images arrived."""
        if len(self.latencies) < 2:
            return self.latencies[0] if self.latencies else float("nan")
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[percent - 1]


def measure(name: str, generate: Callable[[int], float], seeds: list[int], concurrency: int) -> Measurement:
    """Generate one image per seed, at most `concurrency` at a time."""
    latencies: list[float] = []
    failures: list[str] = []

    def attempt(seed: int) -> None:
        try:
            latencies.append(generate(seed))
            print(sign(passed=True), end="", flush=True)
        except CheckError as error:
            failures.append(str(error))
            print(sign(passed=False), end="", flush=True)

    print(f"{name:<12}", end="", flush=True)
    started = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(attempt, seeds))
    wall_time = time.perf_counter() - started
    print(f" {wall_time:.2f} s {marked('FAILED' if failures else 'ok', passed=not failures)}".rstrip(), flush=True)
    return Measurement(name, latencies, failures, wall_time)


def sign(*, passed: bool) -> str:
    """Return the sign of one request: a tick or a cross on a terminal, else a dot."""
    return coloured(TICK if passed else CROSS, passed=passed) if sys.stdout.isatty() else "."


def table(sequential: Measurement, concurrent: Measurement) -> str:
    """Return the comparison as lines of text."""
    rows: list[tuple[str, Callable[[Measurement], str]]] = [
        ("", lambda run: run.name),
        ("images", lambda run: str(len(run.latencies))),
        ("failures", lambda run: str(len(run.failures))),
        ("wall time", lambda run: f"{run.wall_time:.2f} s"),
        ("images/s", lambda run: f"{run.images_per_second:.2f}"),
        ("p50 latency", lambda run: f"{run.percentile(50):.2f} s"),
        ("p95 latency", lambda run: f"{run.percentile(95):.2f} s"),
    ]
    lines = [f"{title:<12}{value(sequential):>14}{value(concurrent):>14}" for title, value in rows]
    if sequential.images_per_second > 0:
        speed_up = concurrent.images_per_second / sequential.images_per_second
        lines.append(f"{'speed-up':<26}{speed_up:>12.2f} x")
    return "\n".join(lines)


def require_matplotlib() -> None:
    """Make sure of matplotlib before anything is measured; a person is asked whether to install it."""
    if importlib.util.find_spec("matplotlib") is not None:
        return
    command = [sys.executable, "-m", "pip", "install", "-c", str(CONSTRAINTS), "matplotlib"]
    if not sys.stdin.isatty():
        raise CheckError(f"--chart needs matplotlib; to install it: {shlex.join(command)}")
    print(f"--chart needs matplotlib. Install it with {shlex.join(command)}? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CheckError("Nothing was installed or measured; without --chart, matplotlib is not needed.")
    if subprocess.run(command, check=False).returncode != 0:
        raise CheckError("matplotlib could not be installed; the lines above say why.")
    importlib.invalidate_caches()


def plot_chart(sequential: Measurement, concurrent: Measurement, target: Path) -> None:
    """Write the comparison as a PNG with one panel for throughput and one for latency."""
    from matplotlib.figure import Figure

    runs = (sequential, concurrent)
    names = [run.name for run in runs]
    figure = Figure(figsize=(9, 4), layout="constrained")
    throughput, latency = figure.subplots(1, 2)
    bars = throughput.bar(names, [run.images_per_second for run in runs], color=["#8fa3b8", "#3a6ea5"], width=0.6)
    throughput.bar_label(bars, fmt="%.2f")
    throughput.set(title="Throughput", ylabel="images per second")
    latency.boxplot([run.latencies for run in runs], tick_labels=names, widths=0.5)
    for position, run in enumerate(runs, start=1):
        latency.plot([position] * len(run.latencies), run.latencies, "o", color="#3a6ea5", alpha=0.5)
    latency.set(title="Latency of each image", ylabel="seconds")
    latency.set_ylim(bottom=0)
    figure.savefig(target, format="png", dpi=120)
    print(f"The chart is in {target}.")


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; return the exit status."""
    parser = common_arguments("Compare sequential with concurrent requests.")
    parser.add_argument("--requests", type=int, default=4, metavar="N", help="images per run (%(default)s)")
    parser.add_argument("--concurrency", type=int, metavar="N", help="requests at a time (as many as --requests)")
    parser.add_argument("--steps", type=int, default=20, help="denoising steps of each image (%(default)s)")
    parser.add_argument("--aspect-ratio", default="s1:1", help="size of each image (%(default)s)")
    parser.add_argument(
        "--chart", type=Path, metavar="FILE.png", help="write a chart there; asks before it installs matplotlib"
    )
    options = parser.parse_args(arguments)
    count: int = options.requests
    concurrency: int = count if options.concurrency is None else options.concurrency
    if count < 1 or concurrency < 1:
        parser.error("--requests and --concurrency must be at least 1")
    client = Client(options.url, options.timeout, options.api_key)

    def generate(seed: int) -> float:
        started = time.perf_counter()
        answer = client.generate(
            prompt=options.prompt, aspect_ratio=options.aspect_ratio, num_inference_steps=options.steps, seed=seed
        )
        png_size(answer.content)
        return time.perf_counter() - started

    try:
        if options.chart is not None:
            require_matplotlib()
        client.wait_until_ready(options.wait)
        first = random.randrange(2**31)
        generate(first)
        sequential = measure("sequential", generate, [first + 1 + number for number in range(count)], 1)
        concurrent = measure(
            "concurrent", generate, [first + 1 + count + number for number in range(count)], concurrency
        )
        print(table(sequential, concurrent))
        for sentence in sorted({*sequential.failures, *concurrent.failures}):
            complain(sentence)
        if options.chart is not None:
            plot_chart(sequential, concurrent, options.chart)
    except (CheckError, OSError) as error:
        complain(error)
        return 1
    return 1 if sequential.failures or concurrent.failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
