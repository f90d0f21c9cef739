"""What is expected of a generation, in seconds and in memory, learnt from those before it."""

from imageserver.dispatch.estimates import CostModel
from imageserver.dispatch.forecast import Outlook
from imageserver.dispatch.memory_estimates import MemoryModel
from imageserver.generation import Generation, ModelFacts, Outcome
from imageserver.messages import Forecast


class Expectations:
    """The costs and the memory of all models."""

    def __init__(self) -> None:
        self.costs = CostModel()
        self._memory = MemoryModel()

    def learn(self, generation: Generation, facts: ModelFacts | None, outcome: Outcome) -> None:
        """Learn from a finished generation and the facts of its model."""
        self.costs.observe(generation, outcome.device_time)
        if facts is not None:
            self._memory.observe(facts, generation, outcome.vram_peak_mb)

    def forecast(self, job: int, generation: Generation, facts: ModelFacts | None, outlook: Outlook) -> Forecast:
        """Return all that is expected of a generation with this outlook."""
        return Forecast(
            job=job,
            own=outlook.own,
            wait=outlook.wait,
            position=outlook.position,
            learnt=self.costs.learnt,
            median_error=self.costs.median_error,
            memory_mb=self._memory.expected(facts, generation) if facts else None,
        )
