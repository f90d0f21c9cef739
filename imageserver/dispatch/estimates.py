"""How long a generation will take, learnt from the ones before it."""

from imageserver.generation import Generation

# Until something has been measured: one 512 x 512 step of a small model. Only Retry-After is built on it.
INITIAL_SECONDS_PER_MEGAPIXEL_STEP = 0.05
LEARNING_RATE = 0.3


class CostModel:
    """Seconds are proportional to pixels x steps x pictures, twice with classifier-free guidance."""

    def __init__(self) -> None:
        self._rate = INITIAL_SECONDS_PER_MEGAPIXEL_STEP
        self._learnt = False

    def seconds(self, generation: Generation) -> float:
        """Return the expected device time of a generation."""
        return self._rate * _work(generation)

    def observe(self, generation: Generation, seconds: float) -> None:
        """Learn from a finished generation."""
        rate = seconds / _work(generation)
        self._rate = self._rate + LEARNING_RATE * (rate - self._rate) if self._learnt else rate
        self._learnt = True


def _work(generation: Generation) -> float:
    """Return megapixel steps, guidance counted."""
    passes = 2 if generation.true_cfg_scale > 1 else 1
    return generation.width * generation.height / 1e6 * generation.steps * generation.count * passes
