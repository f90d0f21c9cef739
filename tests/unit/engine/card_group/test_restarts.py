"""When the other cards are started again after a loss: at once after a success, with a pause after none."""

import queue
from typing import Any

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

    def send(self, *_: Any) -> None:
        """Accept it."""

    def answer(self) -> RankDone:
        return RankDone()

    def failure(self) -> str:
        return ""

    def starts(self, *, over: bool = False) -> None:
        """Be ready."""

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


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Cards:
    monkeypatch.setattr(card_group, "RankProcess", WillingRank)
    monkeypatch.setattr(card_group, "ProcessGroup", UnusedProcessGroup)
    return Cards()


def test_health_says_that_lost_cards_are_on_their_way(cards: Cards):
    cards.lose_one()
    assert cards.group.reason == "card cuda:1 has lost its process"
    cards.group.tend()
    assert cards.group.reason == "card cuda:1 has lost its process; the other cards are being started again"
    cards.group.receive(cards.started.get(timeout=10))
    assert cards.group.reason == ""


def test_cards_that_are_lost_again_before_any_forward_wait(cards: Cards):
    cards.lose_one()
    assert cards.is_started_again()
    cards.lose_one()
    assert not cards.is_started_again()


def test_cards_that_have_computed_a_forward_are_started_again_at_once(cards: Cards):
    for _ in range(3):
        cards.lose_one()
        assert cards.is_started_again()
        cards.group.succeeded()
