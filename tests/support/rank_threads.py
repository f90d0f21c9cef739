"""Ranks as threads of the test's process, whose collectives are additions and joinings of lists."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from imageserver.engine.card_group.sharding import sharded_linears


class RankThreads:
    """So many ranks, each a thread; what they exchange is counted."""

    def __init__(self, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._count = count
        self._barrier = threading.Barrier(count, timeout=30)
        self._sent: list[Any] = [None] * count
        self._own = threading.local()
        self.gathered = self.added = 0
        monkeypatch.setattr(sharded_linears.dist, "all_gather", self._gather)
        monkeypatch.setattr(sharded_linears.dist, "all_reduce", self._add)

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        """Return what `work(rank)` returns on every rank."""

        def one(rank: int) -> Any:
            self._own.rank = rank
            with torch.no_grad():
                return work(rank)

        with ThreadPoolExecutor(self._count) as pool:
            return list(pool.map(one, range(self._count)))

    def _gather(self, parts: list[torch.Tensor], own: torch.Tensor) -> None:
        for part, sent in zip(parts, self._exchanged(own), strict=True):
            part.copy_(sent)
        self.gathered += self._own.rank == 0

    def _add(self, own: torch.Tensor) -> None:
        own.copy_(sum(self._exchanged(own.clone())))
        self.added += self._own.rank == 0

    def _exchanged(self, own: torch.Tensor) -> list[torch.Tensor]:
        self._sent[self._own.rank] = own
        self._barrier.wait()
        sent = list(self._sent)
        self._barrier.wait()
        return sent
