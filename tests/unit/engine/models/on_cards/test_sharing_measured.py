"""From which size on several cards share a call is measured: where they are at least a tenth faster than one."""

from typing import Any

import pytest

from imageserver.engine.devices.batch_limits import MAX_FORWARD_SECONDS
from imageserver.engine.models.on_cards.shared_model import measure


class TimedCards:
    """So many cards; `seconds` says how long each number of them takes for a call of that side."""

    def __init__(self, size: int, seconds: dict[int, dict[int, float]]) -> None:
        self.size = size
        self.shared_from: dict[int, int] = {}
        self.now = 0.0
        self.tried: list[tuple[int, int]] = []
        self._seconds = seconds

    def forward(self, side: int) -> None:
        self._spend(1, side)

    def compute(self, calls: list[dict[str, int]]) -> None:
        [degree], [call] = self.shared_from, calls
        assert self.shared_from[degree] == 0, "a call is shared whatever its size, to be measured"
        self._spend(degree, call["side"])

    def tokens_of(self, call: dict[str, int]) -> int:
        return call["side"] ** 2 // 256

    def _spend(self, degree: int, side: int) -> None:
        self.tried.append((degree, side))
        self.now += self._seconds[degree][side]

    def measure(self, max_side: int = 1024) -> dict[int, int]:
        cards: Any = self
        degrees = [degree for degree in self._seconds if degree > 1]
        return measure(cards, degrees, self.forward, lambda side: {"side": side}, max_side**2, lambda: self.now)


ALONE = {512: 0.1, 768: 0.2, 1024: 0.4}


def test_cards_share_calls_from_the_first_size_at_which_that_is_a_tenth_faster():
    cards = TimedCards(2, {1: ALONE, 2: {512: 0.095, 768: 0.18, 1024: 0.22}})
    assert cards.measure() == {2: 768}
    assert cards.shared_from == {2: 768**2 // 256}
    assert (2, 1024) not in cards.tried, "larger ones gain more"


def test_every_number_of_cards_has_its_own_size():
    cards = TimedCards(4, {1: ALONE, 2: {512: 0.08}, 4: {512: 0.12, 768: 0.19, 1024: 0.15}})
    assert cards.measure() == {2: 512, 4: 1024}
    assert cards.shared_from == {2: 1024, 4: 4096}


def test_where_no_size_gains_no_call_is_shared():
    cards = TimedCards(2, {1: ALONE, 2: ALONE})
    assert cards.measure() == {}
    assert cards.shared_from == {}


def test_sizes_that_nobody_may_ask_for_and_forwards_of_seconds_are_not_tried():
    cards = TimedCards(2, {1: ALONE, 2: ALONE})
    cards.measure(max_side=600)
    assert {side for _, side in cards.tried} == {512}
    slow = TimedCards(2, {1: {512: MAX_FORWARD_SECONDS + 1}, 2: {512: MAX_FORWARD_SECONDS + 1}})
    assert slow.measure() == {}
    assert {side for _, side in slow.tried} == {512}


def test_cards_that_fail_in_a_shared_call_share_none(monkeypatch: pytest.MonkeyPatch):
    cards = TimedCards(2, {1: ALONE, 2: ALONE})
    monkeypatch.setattr(cards, "compute", lambda calls: cards.shared_from.clear())
    assert cards.measure() == {}
    assert cards.shared_from == {}
