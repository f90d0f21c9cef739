"""The groups into which edges connect the nodes of a graph.

Every round merges each group with a neighbour, so there are half as many at most: 20 rounds do for a million nodes,
however long a chain is. Source: O. Borůvka, 1926, for a minimum spanning tree.
"""

from typing import Any

import numpy as np

Numbers = np.ndarray[Any, np.dtype[np.int64]]


def groups(one: Numbers, other: Numbers, count: int) -> Numbers:
    """Return for each of `count` nodes a number of its group; edge k is between the nodes `one[k]` and `other[k]`."""
    group = np.arange(count)
    one, other = _between_groups(group, one, other)
    while one.size:
        merged = _merged(one, other, count)
        group = merged[group]
        one, other = _between_groups(merged, one, other)
    return group


def _between_groups(group: Numbers, one: Numbers, other: Numbers) -> tuple[Numbers, Numbers]:
    """Return the edges as edges between the groups of their nodes, without those inside a group."""
    one, other = group[one], group[other]
    outside = one != other
    return one[outside], other[outside]


def _merged(one: Numbers, other: Numbers, count: int) -> Numbers:
    """Return what each group becomes when all follow their first edge."""
    edges = np.arange(one.size)
    first = np.full(count, one.size)
    np.minimum.at(first, one, edges)
    np.minimum.at(first, other, edges)
    group = np.arange(count)
    has_edge = first < one.size
    chosen = first[has_edge]
    parent = group.copy()
    parent[has_edge] = one[chosen] + other[chosen] - group[has_edge]
    # Following first edges goes round only between two groups that chose the same one.
    root = (parent[parent] == group) & (group < parent)
    parent[root] = group[root]
    while not np.array_equal(ahead := parent[parent], parent):
        parent = ahead
    return parent
