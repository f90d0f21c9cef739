"""When the other cards are started again after a loss: at once after a success, with a pause after none."""

from typing import Any

import pytest

from tests.support.willing_cards import MODEL, Cards


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Cards:
    Cards.patch(monkeypatch)
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


def test_cards_that_no_model_needs_any_more_are_started_again_and_meet_with_the_next_one(cards: Cards):
    cards.group.unload(MODEL.model)
    cards.lose_one()
    assert cards.group.is_broken
    cards.group.tend()
    assert not cards.group.is_broken
    assert cards.group.started == ("cuda:0", "cuda:1")
    assert cards.divide("two")
    assert cards.group.in_use == ("cuda:0", "cuda:1")


def test_a_divided_model_that_does_not_fit_leaves_the_cards_as_they_were(cards: Cards, monkeypatch: pytest.MonkeyPatch):
    rank: Any = cards.group.processes[0]
    monkeypatch.setattr(rank, "failure", lambda: "card cuda:1: out of memory")
    assert not cards.divide("two")
    assert cards.group.loss == "card cuda:1: out of memory"
    assert (cards.group.size, cards.group.reason) == (2, "")
    assert not rank.is_starting


def test_a_card_that_is_lost_over_a_divided_model_is_started_again(cards: Cards):
    [rank] = cards.group.processes
    rank.loss = "card cuda:1 has lost its process"
    assert not cards.divide("two")
    assert cards.is_started_again()
