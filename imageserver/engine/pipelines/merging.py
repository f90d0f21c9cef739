"""Merge several suspended denoiser calls into one forward, and split its result."""

import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

Arguments = Mapping[str, Any]


class Merger(Protocol):
    """How a family's denoiser calls merge; without a merger they run one by one."""

    def shape_of(self, call: Arguments) -> Hashable:
        """Return the key that all calls of one forward must share."""

    def batch_size(self, call: Arguments) -> int:
        """Return the images of one call."""

    def text_length(self, call: Arguments) -> int:
        """Return the tokens of text, which may differ between calls at the cost of padding."""

    def token_count(self, call: Arguments) -> int:
        """Return the tokens of the image and its text, which decide the cost of a forward."""

    def merge(self, calls: Sequence[Arguments]) -> dict[str, Any]:
        """Return the arguments of one forward for all calls, in order."""


# Padding that costs more of a forward than this is not worth a merge.
MAX_PADDING = 0.15


def companions(merger: Merger, leader: Arguments, others: Sequence[Arguments], cap: int) -> list[int]:
    """Return the indexes of the calls in `others` that should join `leader`, at most `cap - 1`, in their order.

    Calls with the leader's text length go first: a mask takes attention off its fast path.
    """
    shape, length = merger.shape_of(leader), merger.text_length(leader)
    fitting = [index for index, other in enumerate(others) if merger.shape_of(other) == shape]
    equal = [index for index in fitting if merger.text_length(others[index]) == length]
    chosen = equal[: cap - 1]
    for index in fitting:
        if len(chosen) >= cap - 1:
            break
        if index not in chosen and _padding(merger, leader, others[index]) <= MAX_PADDING:
            chosen.append(index)
    return sorted(chosen)


def split(output: Any, sizes: Sequence[int]) -> list[Any]:
    """Return each call's part of a forward's `(rows,)`, a tensor with the batch in front or a list of images."""
    ends = list(itertools.accumulate(sizes))
    return [(output[0][end - size : end],) for end, size in zip(ends, sizes, strict=True)]


def _padding(merger: Merger, leader: Arguments, other: Arguments) -> float:
    difference = abs(merger.text_length(leader) - merger.text_length(other))
    return difference / max(merger.token_count(leader), merger.token_count(other))
