"""A tiny model behind a gate, generated with as in an engine, and the stock pipeline to compare it with."""

import copy
from typing import Any

import numpy as np
import torch

from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.step_scheduler import StepScheduler
from imageserver.engine.families import family_of
from imageserver.engine.pipelines.suspension import Gate
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.engine.runner.safety_checker import SafetyChecker
from imageserver.generation import Generation
from imageserver.protocol.messages import Failed, Finished, Message, Run


class Shop:
    """A model, what it has sent in the last run, and how many forwards that took."""

    def __init__(self, stock: Any) -> None:
        self.stock = stock
        torch.set_grad_enabled(False)
        found = family_of(type(stock).__name__)
        assert found is not None
        self.family = found
        self.forwards = 0
        self.sent: list[tuple[Message, bytes]] = []

    def run(
        self,
        *wanted: tuple[Generation, bytes],
        cancelled: int | None = None,
        safety: SafetyChecker | None = None,
        adapters: LoraAdapters | None = None,
    ) -> list[np.ndarray]:
        """Generate at the same time, cancel one after the third forward; return the images of each other, in order."""
        gate = Gate(self.stock.transformer)
        self.sent.clear()
        self.forwards = 0

        def forward(**arguments: Any) -> Any:
            self.forwards += 1
            return gate.forward(**arguments)

        try:
            runner = PipelineRunner(copy.copy(self.stock), self.family, adapters=adapters)
            model = ServedModel(runner, forward, merger=self.family.merger, cap_of=lambda _: 8, adapters=adapters)
            turns = StepScheduler({"": model}, lambda *frame: self.sent.append(frame), safety=safety)
            for number, (one, source) in enumerate(wanted):
                turns.add(Run(job=number, generation=one), source)
            while turns.busy:
                turns.step()
                if self.forwards == 3 and cancelled is not None:
                    turns.cancel(cancelled)
        finally:
            gate.remove()
        done = {message.job: (message.outcome, raw) for message, raw in self.sent if isinstance(message, Finished)}
        return [
            np.frombuffer(raw, np.uint8).reshape(-1, outcome.height, outcome.width, outcome.channels).astype(int)
            for _, (outcome, raw) in sorted(done.items())
        ]

    def finished(self) -> Finished:
        """Return the one image that was finished."""
        [finished] = [message for message, _ in self.sent if isinstance(message, Finished)]
        return finished

    def failure(self) -> Failed:
        """Return the one failure."""
        [failed] = [message for message, _ in self.sent if isinstance(message, Failed)]
        return failed
