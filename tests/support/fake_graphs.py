"""CUDA graphs without CUDA: a replay computes again from the same inputs, on a clock that makes it fast."""

from collections.abc import Callable
from typing import Any

import torch

from imageserver.engine.capturing.call_values import tensors_in


class FakeGraphs:
    """Records what is captured and replayed; seconds and bytes are what a test says they are.

    Whoever computes calls `spend`, which advances the clock by one forward.
    """

    def __init__(self, *, eager: float = 0.1, replayed: float = 0.05, bytes_each: int = 1000) -> None:
        self.device = torch.device("cpu")
        self.seconds = {False: eager, True: replayed}
        self.bytes_each = bytes_each
        self.error: Exception | None = None
        self.tried = self.captures = self.replays = 0
        self.now = 0.0
        self._replaying = False

    def clock(self) -> float:
        return self.now

    def spend(self) -> None:
        """Advance the clock by a forward."""
        self.now += self.seconds[self._replaying]

    def capture(self, compute: Callable[[], Any]) -> "FakeGraph":
        self.tried += 1
        if self.error is not None:
            raise self.error
        self.captures += 1
        return FakeGraph(self, compute)

    def replay(self, compute: Callable[[], Any]) -> Any:
        self.replays += 1
        self._replaying = True
        try:
            return compute()
        finally:
            self._replaying = False

    def wait(self) -> None:
        """There is nothing to wait for."""


class FakeGraph:
    """One captured computation, with an output that every replay overwrites."""

    def __init__(self, graphs: FakeGraphs, compute: Callable[[], Any]) -> None:
        self._graphs, self._compute = graphs, compute
        self.bytes = graphs.bytes_each
        self.output = compute()

    def replay(self) -> None:
        for static, computed in zip(
            tensors_in(self.output), tensors_in(self._graphs.replay(self._compute)), strict=True
        ):
            static.copy_(computed)
