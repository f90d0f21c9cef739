"""Servers are asked in turns, in an order that is new each round."""

import itertools
from collections import Counter

from benchmarks.paired.rounds import WARM_UPS, Participant, in_rounds


def test_every_server_is_asked_once_in_a_round_and_a_slow_one_in_some():
    asked = []
    each = [Participant(name, lambda number, name=name: asked.append((number, name)) or number, 1) for name in "abc"]
    slow = Participant("slow", lambda number: asked.append((number, "slow")) or number, 4)
    seconds = in_rounds([*each, slow], 10)
    assert seconds == {name: list(range(10)) for name in "abc"} | {"slow": [0, 4, 8]}
    assert [number for number, _ in asked] == sorted(number for number, _ in asked)
    assert Counter(name for number, name in asked if number < 0) == dict.fromkeys(["a", "b", "c", "slow"], WARM_UPS)


def test_none_is_always_asked_after_the_same_one():
    asked = []
    in_rounds([Participant(name, lambda number, name=name: asked.append(name) or 0.0) for name in "abc"], 100)
    before = Counter(earlier for earlier, later in itertools.pairwise(asked) if later == "a")
    assert min(before["b"], before["c"]) > 20


def test_what_drifts_over_the_rounds_changes_no_difference():
    clock = iter(range(10_000))

    def ask(cost):
        return lambda number: next(clock) * 0.01 + cost

    seconds = in_rounds([Participant("cheap", ask(1.0)), Participant("dear", ask(1.5))], 400)
    differences = sorted(dear - cheap for cheap, dear in zip(seconds["cheap"], seconds["dear"], strict=True))
    assert abs(differences[200] - 0.5) < 0.02
