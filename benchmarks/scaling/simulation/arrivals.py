"""Bursty mixed traffic: bursts at random moments, images of several sizes and steps."""

import random
from dataclasses import dataclass

BURST_SIZE = 4.0
SECONDS_INSIDE_BURST = 0.05
# Side, steps, share.
MIX = ((512, 4, 0.3), (512, 8, 0.35), (768, 8, 0.25), (1024, 8, 0.1))


@dataclass(frozen=True)
class Arrival:
    """One request: when it comes, in seconds from the beginning, and what it wants."""

    moment: float
    side: int
    steps: int


def bursty_arrivals(rate: float, seconds: float, seed: int) -> list[Arrival]:
    """Return arrivals of `rate` per second on average: bursts of a Poisson stream, their sizes geometric."""
    source = random.Random(seed)
    arrivals: list[Arrival] = []
    moment = source.expovariate(rate / BURST_SIZE)
    while moment < seconds:
        inside = moment
        while True:
            side, steps, _ = source.choices(MIX, [share for _, _, share in MIX])[0]
            arrivals.append(Arrival(inside, side, steps))
            inside += SECONDS_INSIDE_BURST
            if source.random() < 1 / BURST_SIZE:
                break
        moment += source.expovariate(rate / BURST_SIZE)
    return sorted(arrivals, key=lambda arrival: arrival.moment)
