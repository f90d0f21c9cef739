"""A tiny model behind a gate, drawn with as in an engine, and the stock pipeline to compare it with."""

import copy
from typing import Any

import numpy as np
import torch

from imageserver.engine.adapters import Adapters
from imageserver.engine.families import family_of
from imageserver.engine.painter import Painter
from imageserver.engine.safety import SafetyChecker
from imageserver.engine.served_model import ServedModel
from imageserver.engine.suspension import Gate
from imageserver.engine.turns import Turns
from imageserver.generation import Generation
from imageserver.messages import Failed, Finished, Message, Run


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
        adapters: Adapters | None = None,
    ) -> list[np.ndarray]:
        """Draw at the same time, cancel one after the third forward; return the pictures of each other, in order."""
        gate = Gate(self.stock.transformer)
        self.sent.clear()
        self.forwards = 0

        def forward(**arguments: Any) -> Any:
            self.forwards += 1
            return gate.forward(**arguments)

        try:
            painter = Painter(copy.copy(self.stock), self.family, adapters=adapters)
            model = ServedModel(painter, forward, merger=self.family.merger, cap_of=lambda _: 8, adapters=adapters)
            turns = Turns({"": model}, lambda *frame: self.sent.append(frame), safety=safety)
            for number, (one, source) in enumerate(wanted):
                turns.add(Run(job=number, generation=one), source)
            while turns.busy:
                turns.take_one()
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
        """Return the one picture that was finished."""
        [finished] = [message for message, _ in self.sent if isinstance(message, Finished)]
        return finished

    def failure(self) -> Failed:
        """Return the one failure."""
        [failed] = [message for message, _ in self.sent if isinstance(message, Failed)]
        return failed
