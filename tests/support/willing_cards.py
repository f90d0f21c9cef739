"""Two cards without processes, whose other rank does everything at once, and the group that they are."""

import queue
from typing import Any

import msgspec
import pytest

from imageserver.engine.card_group import card_group
from imageserver.engine.card_group.card_group import CardGroup
from imageserver.engine.card_group.messages import LoadDenoiser, RankDone
from imageserver.settings import Settings

MODEL = LoadDenoiser(
    model="one", denoiser="", folder="", dtype="float32", memory_plan="full", transformer_file=None
)  # fmt: skip


class WillingRank:
    """A rank that does everything at once."""

    def __init__(self, device: str, *_: Any) -> None:
        self.device = device
        self.loss = ""
        self.is_starting = True

    def send(self, *_: Any) -> None:
        """Accept it."""

    def answer(self) -> RankDone:
        return RankDone()

    def failure(self) -> str:
        return self.loss

    def is_lost_within(self, _: float) -> bool:
        return bool(self.loss)

    def starts(self, *, over: bool = False) -> None:
        self.is_starting = not over

    def end(self) -> None:
        """Be gone."""

    try_to_send = send


class UnusedProcessGroup:
    """A process group without tensors."""

    def __init__(self, rank: int, size: int, *_: Any) -> None:
        self.size = size

    def abort(self) -> None:
        """Free nobody."""

    leave = abort


class Cards:
    """Two cards that have met."""

    def __init__(self) -> None:
        self.started: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.group = CardGroup(("cuda:0", "cuda:1"), Settings(_env_file=None), self.started.put)
        self.group.load(MODEL)
        self.group.complete(MODEL.model)

    @staticmethod
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        """Let groups start such ranks."""
        monkeypatch.setattr(card_group, "RankProcess", WillingRank)
        monkeypatch.setattr(card_group, "ProcessGroup", UnusedProcessGroup)

    def divide(self, model: str) -> bool:
        """Load a model whose parts the two cards hold."""
        self.group.load(msgspec.structs.replace(MODEL, model=model, parts=2))
        return self.group.complete(model)

    def fail_in_a_forward(self, error: Exception, reason: str = "card cuda:1: out of memory") -> None:
        """Break the group up as a forward of a divided model does that has failed with this error."""
        try:
            raise error
        except Exception:
            self.group.break_up(reason)

    def lose_one(self) -> None:
        self.group.processes[0].loss = "card cuda:1 has lost its process"
        self.group.tend()

    def is_started_again(self) -> bool:
        """Return whether an idle engine starts the others now; they meet."""
        self.group.tend()
        if not self.group.processes:
            return False
        self.group.receive(self.started.get(timeout=10))
        return self.group.size == 2
