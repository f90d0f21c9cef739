"""A model whose cards fail while it is loaded ends no engine that can go on without it."""

import pytest
import torch

from imageserver.engine.device_errors import DeviceLost
from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.models.on_cards.refusal import refusing_without_cards
from tests.support.willing_cards import Cards


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Cards:
    Cards.patch(monkeypatch)
    return Cards()


def test_it_is_refused_with_the_cards_reason_and_the_cards_are_started_again(cards: Cards):
    assert cards.divide("two")
    sentence = "two cannot be spread over cuda:0 and cuda:1: card cuda:1: out of memory. A smaller MAX_PIXELS may fit."
    with pytest.raises(ModelUnavailable, match=sentence), refusing_without_cards(cards.group, "two"):
        cards.fail_in_a_forward(RuntimeError("connection closed"))
    assert cards.is_started_again()


def test_the_engine_ends_where_another_model_is_divided(cards: Cards):
    assert cards.divide("two")
    assert cards.divide("three")
    with pytest.raises(DeviceLost), refusing_without_cards(cards.group, "three"):
        cards.fail_in_a_forward(RuntimeError("connection closed"))


def test_the_engine_ends_where_its_own_device_is_lost(cards: Cards):
    assert cards.divide("two")
    with pytest.raises(DeviceLost), refusing_without_cards(cards.group, "two"):
        cards.fail_in_a_forward(torch.AcceleratorError("an illegal memory access"))


def test_a_first_model_that_memory_is_too_small_for_is_refused_at_once_instead_of_tried_for_ever(cards: Cards):
    cards.group.unload("one")
    assert cards.divide("two")
    with pytest.raises(ModelUnavailable, match="out of memory"), refusing_without_cards(
        cards.group, "two", is_first=True
    ):  # fmt: skip
        cards.fail_in_a_forward(RuntimeError("connection closed"))


def test_a_first_model_is_tried_again_where_a_card_was_lost_or_the_engine_before_had_room_for_it(cards: Cards):
    assert cards.divide("two")
    with pytest.raises(DeviceLost), refusing_without_cards(cards.group, "two", is_first=True, has_fitted=True):
        cards.fail_in_a_forward(RuntimeError("connection closed"))
    assert cards.is_started_again()
    assert cards.divide("two")
    with pytest.raises(DeviceLost), refusing_without_cards(cards.group, "two", is_first=True):
        cards.fail_in_a_forward(RuntimeError("connection closed"), "card cuda:1 has lost its process")
