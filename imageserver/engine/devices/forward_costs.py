"""The cost of a forward on this device, learnt while it works."""

import math
from collections import OrderedDict
from dataclasses import dataclass

LEARNING_RATE = 0.2
# Clients choose the sizes: of more than these, the one that was generated least recently is forgotten.
MAX_SIZES = 256
# The first forward of a size and batch is slow on most devices.
MIN_OBSERVED = 5


@dataclass
class _Seconds:
    """What forwards of one size and batch took: the fading mean, and the shortest, as noise only adds to it."""

    mean: float
    shortest: float
    observed: int = 0

    def observe(self, seconds: float) -> None:
        self.observed += 1
        self.mean += LEARNING_RATE * (seconds - self.mean)
        self.shortest = min(self.shortest, seconds)


class ForwardCosts:
    """Seconds of one forward by pixels and batch size."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[int, dict[int, _Seconds]] = OrderedDict()

    def observe(self, pixels: int, batch: int, seconds: float) -> None:
        """Learn from one forward."""
        self._sizes.setdefault(pixels, {}).setdefault(batch, _Seconds(seconds, seconds)).observe(seconds)
        self._sizes.move_to_end(pixels)
        if len(self._sizes) > MAX_SIZES:
            self._sizes.popitem(last=False)

    def seconds(self, pixels: int, batch: int = 1) -> float:
        """Return the cost of a forward for `batch` images; sizes not seen yet are scaled from the nearest one.

        A batch not seen yet costs as much as its images one by one.
        """
        known = {size: batches[batch].mean for size, batches in self._sizes.items() if batch in batches}
        if known:
            nearest = min(known, key=lambda size: abs(size - pixels))
            return known[nearest] * pixels / nearest
        # Only ratios matter until something has been measured.
        return self.seconds(pixels) * batch if batch > 1 else pixels / 1e6

    def worthwhile_padding(self, pixels: int) -> float:
        """Return the padding, as a share of a call, up to which it costs less beside another call than alone.

        Padding makes what the second call adds to a forward so much larger. There is no limit until forwards of one and
        of two images of this size have been measured.
        """
        batches = self._sizes.get(pixels, {})
        if 1 not in batches or 2 not in batches or batches[2].observed < MIN_OBSERVED:
            return math.inf
        alone = batches[1].shortest
        second = batches[2].shortest - alone
        return alone / second - 1 if second > 0 else math.inf
