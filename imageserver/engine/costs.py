"""What a forward of this device costs, learnt while it works."""

LEARNING_RATE = 0.2


class ForwardCosts:
    """Seconds of one forward by pixels and batch size."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[int, int], float] = {}

    def observe(self, pixels: int, batch: int, seconds: float) -> None:
        """Learn from one forward."""
        known = self._seconds.get((pixels, batch))
        self._seconds[pixels, batch] = seconds if known is None else known + LEARNING_RATE * (seconds - known)

    def seconds(self, pixels: int) -> float:
        """Return the cost of a forward for one picture; sizes not seen yet are scaled from the nearest one."""
        solo = {size: cost for (size, batch), cost in self._seconds.items() if batch == 1}
        if not solo:
            # Only ratios matter until something has been measured.
            return pixels / 1e6
        nearest = min(solo, key=lambda size: abs(size - pixels))
        return solo[nearest] * pixels / nearest
