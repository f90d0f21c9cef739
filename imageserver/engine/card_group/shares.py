"""Divide the calls of a forward among the ranks: each takes some of the calls, or a part of the tokens of one call."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """Some ranks and the calls that they compute together, by their indexes; several ranks share the tokens."""

    ranks: tuple[int, ...]
    calls: tuple[int, ...]


def divide(text_lengths: Sequence[int], size: int, is_worthwhile: Callable[[int], bool]) -> list[Share]:
    """Return the shares of one forward, that of rank 0 first.

    Calls go to different ranks as far as there are calls; what ranks are left over share tokens, `is_worthwhile(n)`
    says whether n of them should. Calls with equally long texts stay together, which saves padding.
    """
    calls = len(text_lengths)
    degrees = [degree for degree in range(size, 1, -1) if size % degree == 0 and size // degree >= min(calls, size)]
    degree = next((each for each in degrees if is_worthwhile(each)), 1)
    parts = min(calls, size // degree)
    order = sorted(range(calls), key=lambda index: text_lengths[index])
    ends = [round(calls * part / parts) for part in range(parts + 1)]
    # Rank 0 has other work too, so it gets the smallest part.
    found = sorted((order[begin:end] for begin, end in itertools.pairwise(ends)), key=len)
    return [
        Share(tuple(range(part * degree, (part + 1) * degree)), tuple(sorted(each))) for part, each in enumerate(found)
    ]
