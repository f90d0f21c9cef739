"""Read what was measured."""

from collections.abc import Iterable

from imageserver.protocol.messages import Series


def observed(series: Iterable[Series], name: str, *labels: str) -> tuple[int, float]:
    """Return how many observations a histogram has with these first labels, and their sum."""
    found = [each for each in series if each.name == name and each.labels[: len(labels)] == labels]
    return sum(sum(each.counts) for each in found), sum(each.total for each in found)


def counted(series: Iterable[Series], name: str) -> dict[tuple[str, ...], float]:
    """Return a counter's totals by its labels."""
    return {each.labels: each.total for each in series if each.name == name}
