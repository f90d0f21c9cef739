"""A group that cannot have all of its cards computes with those that it can have."""

from typing import Any

import pytest

from imageserver.engine.card_group import card_group
from imageserver.engine.card_group.card_group import CardGroup
from imageserver.settings import Settings
from tests.support.willing_cards import MODEL, Cards, WillingRank

THREE = ("cuda:0", "cuda:1", "cuda:2")


class FullRank(WillingRank):
    """A rank whose card has no room for a model."""

    ended = 0

    def failure(self) -> str:
        return "card cuda:2: out of memory"

    def end(self) -> None:
        FullRank.ended += 1


def start_with(monkeypatch: pytest.MonkeyPatch, third: Any) -> CardGroup:
    """Return three cards with a model, the third of another kind."""
    Cards.patch(monkeypatch)
    monkeypatch.setattr(
        card_group, "RankProcess", lambda device, *_: (third if device == THREE[2] else WillingRank)(device)
    )
    group = CardGroup(THREE, Settings(_env_file=None))
    group.load(MODEL)
    assert group.complete(MODEL.model)
    return group


def test_a_card_whose_memory_does_not_hold_the_model_leaves_two_of_three_that_compute(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FullRank, "ended", 0)
    group = start_with(monkeypatch, FullRank)
    assert (group.in_use, group.size, group.losses) == (THREE[:2], 2, 0)
    assert group.reason == "card cuda:2: out of memory"
    assert FullRank.ended == 1, "its process holds nothing of the card any more"


def test_a_card_whose_process_cannot_be_started_leaves_two_of_three_that_compute(monkeypatch: pytest.MonkeyPatch):
    def fail(device: str) -> None:
        raise OSError("Cannot allocate memory")

    group = start_with(monkeypatch, fail)
    assert (group.in_use, group.size) == (THREE[:2], 2)
    assert group.reason == "cuda:2 cannot be used: Cannot allocate memory"
