"""The room for what is still arriving at a worker, and which of it is given up where it does not suffice."""

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

# A body has stalled that got less than the one part of the limit while the other arrived in all. In parts and not in
# seconds: who sends a byte now and then makes no progress either.
MIN_PROGRESS = 1 / 8192
STALLED_AFTER = 1 / 4


class Arriving(Protocol):
    """A body or a message that has begun, and the address that counts as its client's."""

    client: str

    def give_up(self) -> None:
        """Let whoever waits for the rest of it know that it makes room for others."""


@dataclass
class _Arrived:
    size: int
    # Its size and that of all together at its last progress.
    marked_size: int
    marked_at: int


class ArrivingBodies:
    """Knows what is still arriving; beyond `max_bytes`, what the client holds that holds most is given up."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._total = 0
        # Of everything that ever arrived: the clock of progress.
        self._clock = 0
        # In the order in which they began.
        self._arrived: dict[Arriving, _Arrived] = {}

    def add(self, body: Arriving, size: int) -> None:
        """Count bytes that have arrived, and make room for them; one alone has all of it."""
        self._total += size
        self._clock += size
        if body in self._arrived:
            self._count(self._arrived[body], size)
        else:
            self._arrived[body] = _Arrived(size, marked_size=size, marked_at=self._clock)
        while self._total > self._max_bytes and len(self._arrived) > 1:
            given_up = self._next_to_give_up()
            self.end(given_up)
            given_up.give_up()

    def end(self, body: Arriving) -> None:
        """Forget a body; one that is not counted is ignored."""
        if body in self._arrived:
            self._total -= self._arrived.pop(body).size

    def _count(self, arrived: _Arrived, size: int) -> None:
        arrived.size += size
        if arrived.size - arrived.marked_size >= self._max_bytes * MIN_PROGRESS:
            arrived.marked_size, arrived.marked_at = arrived.size, self._clock

    def _next_to_give_up(self) -> Arriving:
        """Return a body of the client that holds most: the one that stalled first, otherwise the one that began last.

        Of all, the one that began first is spared while it goes on: many that go on at once would push each other out,
        and none would ever be whole.
        """
        first, *others = self._arrived
        able = [first, *others] if self._has_stalled(first) else others
        held: Counter[str] = Counter()
        for body, arrived in self._arrived.items():
            held[body.client] += arrived.size
        heaviest = max((body.client for body in able), key=held.__getitem__)
        theirs = [body for body in able if body.client == heaviest]
        stalled = min(theirs, key=lambda body: self._arrived[body].marked_at)
        return stalled if self._has_stalled(stalled) else theirs[-1]

    def _has_stalled(self, body: Arriving) -> bool:
        return self._clock - self._arrived[body].marked_at > self._max_bytes * STALLED_AFTER
