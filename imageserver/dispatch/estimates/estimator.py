"""What is expected of a generation, in seconds and in memory, learnt from those before it."""

from imageserver.dispatch.estimates.cost_model import CostModel
from imageserver.dispatch.estimates.memory_model import MemoryModel
from imageserver.dispatch.estimates.queue_wait import WaitEstimate
from imageserver.dispatch.model_loading import ModelLoading
from imageserver.errors import OutOfMemory
from imageserver.generation import Generation, Outcome
from imageserver.protocol.messages import Estimate


class Estimator:
    """The costs and the memory of all models."""

    def __init__(self) -> None:
        self.costs = CostModel()
        self._memory = MemoryModel()

    def learn(self, generation: Generation, models: ModelLoading, outcome: Outcome) -> None:
        """Learn from a finished generation."""
        self.costs.observe(generation, outcome.device_time)
        facts = models.info_of(generation)
        if facts is not None:
            self._memory.observe(facts, generation, outcome.vram_peak_mb)

    def learn_failure(self, generation: Generation, models: ModelLoading) -> None:
        """Learn from a generation that ran alone and did not fit into the memory."""
        facts = models.info_of(generation)
        if facts is not None:
            self._memory.observe_failure(facts, generation, models.loaded)

    def refuse_if_too_large(self, generation: Generation, models: ModelLoading) -> None:
        """Raise OutOfMemory for a generation that is known not to fit."""
        facts = models.info_of(generation)
        reason = self._memory.obstacle(facts, generation, models.loaded) if facts is not None else None
        if reason is not None:
            raise OutOfMemory(reason)

    def forecast(self, job: int, generation: Generation, models: ModelLoading, outlook: WaitEstimate) -> Estimate:
        """Return all that is expected of a generation with this outlook."""
        facts = models.info_of(generation)
        return Estimate(
            job=job,
            own=outlook.own,
            wait=outlook.wait,
            position=outlook.position,
            learnt=self.costs.learnt,
            median_error=self.costs.median_error,
            memory_mb=self._memory.expected(facts, generation) if facts else None,
        )
