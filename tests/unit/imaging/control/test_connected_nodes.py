"""Nodes are in one group exactly where edges lead from one to the other."""

import numpy as np
import pytest

from imageserver.imaging.control import connected_nodes
from imageserver.imaging.control.connected_nodes import groups


def expected(one, other, count):
    """Return the smallest node of each group, found edge by edge."""
    group = list(range(count))
    for first, second in zip(one, other, strict=True):
        low, high = sorted((group[first], group[second]))
        group = [low if each == high else each for each in group]
    return group


def smallest(found):
    return [list(found).index(each) for each in found]


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_those_found_edge_by_edge(seed):
    random = np.random.default_rng(seed)
    one, other = random.integers(0, 60, (2, int(random.integers(0, 60))))
    assert smallest(groups(one, other, 60)) == expected(one, other, 60)


@pytest.mark.parametrize("order", ["forwards", "backwards", "at random"])
def test_a_long_chain_is_one_group_after_few_rounds(monkeypatch, order):
    nodes, rounds, merge = np.arange(2**16), [], connected_nodes._merged
    if order != "forwards":
        nodes = nodes[::-1] if order == "backwards" else np.random.default_rng(1).permutation(nodes)

    def counted(*args):
        rounds.append(1)
        return merge(*args)

    monkeypatch.setattr(connected_nodes, "_merged", counted)
    assert len(np.unique(groups(nodes[:-1], nodes[1:], nodes.size))) == 1
    assert len(rounds) <= 16
