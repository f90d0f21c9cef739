"""The cost of a forward on this device, learnt while it works."""

from collections import OrderedDict

LEARNING_RATE = 0.2
# Clients choose the sizes: of more than these, the one that was generated least recently is forgotten.
MAX_SIZES = 256


class ForwardCosts:
    """Seconds of one forward by pixels and batch size."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[int, dict[int, float]] = OrderedDict()

    def observe(self, pixels: int, batch: int, seconds: float) -> None:
        """Learn from one forward."""
        batches = self._sizes.setdefault(pixels, {})
        known = batches.get(batch)
        batches[batch] = seconds if known is None else known + LEARNING_RATE * (seconds - known)
        self._sizes.move_to_end(pixels)
        if len(self._sizes) > MAX_SIZES:
            self._sizes.popitem(last=False)

    def seconds(self, pixels: int) -> float:
        """Return the cost of a forward for one image; sizes not seen yet are scaled from the nearest one."""
        solo = {size: batches[1] for size, batches in self._sizes.items() if 1 in batches}
        if not solo:
            # Only ratios matter until something has been measured.
            return pixels / 1e6
        nearest = min(solo, key=lambda size: abs(size - pixels))
        return solo[nearest] * pixels / nearest
