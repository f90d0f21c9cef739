"""Predict a generation's time and memory, learning from earlier ones."""

from imageserver.dispatch.estimates.cost_model import CostModel
from imageserver.dispatch.estimates.memory_model import MemoryModel
from imageserver.dispatch.estimates.queue_wait import WaitEstimate
from imageserver.errors import OutOfMemory
from imageserver.generation import Generation, ModelInfo, Outcome
from imageserver.protocol.messages import Estimate


class Estimator:
    """The costs and the memory of all models; `info` is None of a model that has never been loaded."""

    def __init__(self) -> None:
        self.costs = CostModel()
        self._memory = MemoryModel()

    def observe(self, info: ModelInfo | None, generation: Generation, outcome: Outcome) -> None:
        self.costs.observe(generation, outcome.device_time)
        if info is not None:
            self._memory.observe(info, generation, outcome.vram_peak_mb)

    def observe_failure(self, info: ModelInfo | None, generation: Generation, loaded: tuple[str, ...]) -> None:
        """Learn from a generation that ran alone and did not fit into the memory."""
        if info is not None:
            self._memory.observe_failure(info, generation, loaded)

    def refuse_if_too_large(self, info: ModelInfo | None, generation: Generation, loaded: tuple[str, ...]) -> None:
        """Raise OutOfMemory for a generation that is known not to fit."""
        reason = self._memory.obstacle(info, generation, loaded) if info is not None else None
        if reason is not None:
            raise OutOfMemory(reason)

    def estimate(self, job: int, info: ModelInfo | None, generation: Generation, expected: WaitEstimate) -> Estimate:
        """Return all that is expected of a generation with this wait."""
        return Estimate(
            job=job,
            own=expected.own,
            wait=expected.wait,
            position=expected.position,
            learnt=self.costs.learnt,
            median_error=self.costs.median_error,
            memory_mb=self._memory.expected(info, generation) if info else None,
        )
