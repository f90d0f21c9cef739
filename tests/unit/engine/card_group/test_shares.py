"""How the calls of a forward are divided among ranks."""

import pytest

from imageserver.engine.card_group.shares import Share, divide


def never(degree: int) -> bool:
    return False


def always(degree: int) -> bool:
    return True


def parts(texts: list[int], size: int, worthwhile=always) -> list[tuple[int, ...]]:
    return [share.calls for share in divide(texts, size, worthwhile)]


def ranks(texts: list[int], size: int, worthwhile=always) -> list[tuple[int, ...]]:
    return [share.ranks for share in divide(texts, size, worthwhile)]


def test_the_two_calls_of_guidance_go_to_two_cards():
    assert divide([40, 3], 2, always) == [Share((0,), (1,)), Share((1,), (0,))]


def test_one_call_is_shared_by_all_cards_where_that_is_worthwhile():
    assert divide([40], 4, always) == [Share((0, 1, 2, 3), (0,))]
    assert divide([40], 4, never) == [Share((0,), (0,))]
    assert ranks([40], 4, lambda degree: degree == 2) == [(0, 1)]


def test_four_cards_share_guidance_two_by_two():
    assert ranks([40, 3], 4) == [(0, 1), (2, 3)]
    assert ranks([40, 3], 4, never) == [(0,), (1,)]


def test_eight_cards_share_guidance_four_by_four():
    assert ranks([40, 3], 8) == [(0, 1, 2, 3), (4, 5, 6, 7)]


def test_as_many_calls_as_cards_are_computed_apart():
    assert ranks([5, 5, 5, 5], 4) == [(0,), (1,), (2,), (3,)]


def test_texts_of_equal_length_stay_together():
    assert parts([40, 3, 41, 3], 2) == [(1, 3), (0, 2)]


def test_rank_0_gets_no_more_calls_than_another():
    assert [len(part) for part in parts([1, 2, 3], 2)] == [1, 2]


@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize("calls", range(1, 12))
@pytest.mark.parametrize("worthwhile", [always, never])
def test_every_call_is_computed_once_and_no_rank_twice(size: int, calls: int, worthwhile):
    shares = divide(list(range(calls)), size, worthwhile)
    assert sorted(index for share in shares for index in share.calls) == list(range(calls))
    used = [rank for share in shares for rank in share.ranks]
    assert len(used) == len(set(used)) <= size
    assert shares[0].ranks[0] == 0
    assert len({len(share.ranks) for share in shares}) == 1
