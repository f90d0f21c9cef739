"""The simulation held against measured runs of the same traffic."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.percentiles import percentile
from benchmarks.scaling.simulation.runs import MeasuredRun
from benchmarks.scaling.simulation.simulate import simulate


@dataclass(frozen=True)
class Latency:
    """Seconds from the arrival of a request to its answer."""

    mean: float
    p50: float
    p95: float


@dataclass(frozen=True)
class Comparison:
    """A run as it was measured and as it is simulated."""

    run: MeasuredRun
    measured: Latency
    simulated: Latency

    @property
    def ratios(self) -> list[float]:
        """What is simulated divided by what was measured: of the mean, the median and the 95th percentile."""
        measured, simulated = self.measured, self.simulated
        return [simulated.mean / measured.mean, simulated.p50 / measured.p50, simulated.p95 / measured.p95]


def latency_of(seconds: Sequence[float]) -> Latency:
    return Latency(sum(seconds) / len(seconds), percentile(seconds, 50), percentile(seconds, 95))


def compare(run: MeasuredRun) -> Comparison:
    """Simulate the traffic of a run."""
    return Comparison(run, latency_of(run.latencies), latency_of(simulate(run.arrivals, run.engines).latencies))
