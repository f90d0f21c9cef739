"""What the simulation says about loads and numbers of engines that no machine here has."""

from dataclasses import dataclass
from functools import cache

from benchmarks.percentiles import percentile
from benchmarks.scaling.simulation.arrivals import Arrival, bursty_arrivals
from benchmarks.scaling.simulation.simulate import simulate

LOADS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
ENGINES = (1, 2, 4, 8, 16)
MANY_ENGINES = (1, 4, 16, 32, 64, 128)
# Images of one point: the 95th percentile of fewer says little.
IMAGES = 1000
# Of each engine, where many are simulated: long enough for all of them to be busy.
IMAGES_EACH = 50
SEED = 7


@dataclass(frozen=True)
class Point:
    """The latency at a load, which is the share of what the engines can do that is asked of them."""

    engines: int
    load: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class DispatcherUse:
    """The share of a core that the dispatcher's own code takes, and the images per second that it serves with it."""

    engines: int
    images: float
    core: float


@cache
def capacity() -> float:
    """Return the images per second of one engine that always has enough to do."""
    mixed = [Arrival(0.0, arrival.side, arrival.steps) for arrival in bursty_arrivals(1.0, IMAGES, SEED)]
    return len(mixed) / max(simulate(mixed, 1).latencies)


def latencies() -> list[Point]:
    """Return the latency at every load and number of engines."""
    return [_point(engines, load) for engines in ENGINES for load in LOADS]


def dispatcher_uses(load: float = 0.7) -> list[DispatcherUse]:
    """Return what the dispatcher needs for more and more engines."""
    uses = []
    for engines in MANY_ENGINES:
        rate = load * engines * capacity()
        arrivals = bursty_arrivals(rate, max(IMAGES, IMAGES_EACH * engines) / rate, SEED)
        uses.append(DispatcherUse(engines, rate, simulate(arrivals, engines).dispatcher))
    return uses


def _point(engines: int, load: float) -> Point:
    rate = load * engines * capacity()
    seconds = simulate(bursty_arrivals(rate, IMAGES / rate, SEED), engines).latencies
    return Point(engines, load, *(percentile(seconds, share) for share in (50, 95, 99)))
