"""Places at an endpoint, a part of them for each client, so that one with a batch leaves some to the others.

Where clients have no names, nobody can be told from the others, and there are no parts.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from gevent.lock import BoundedSemaphore


@dataclass
class _Part:
    """What one client may have at a time, and how many of its calls have or await a place."""

    places: BoundedSemaphore
    calls: int = 0


class SharedPlaces:
    """`count` places; a client has at most `of_one` of them, and the others are given in the order of arrival."""

    def __init__(self, count: int, of_one: int) -> None:
        self._places = BoundedSemaphore(count)
        self._of_one = of_one
        self._parts: dict[str, _Part] = {}

    @contextlib.contextmanager
    def hold(self, client: str) -> Iterator[None]:
        """Hold a place of a client, after waiting for it; one without a name may have all of them."""
        if not client:
            with self._places:
                yield
            return
        part = self._parts.setdefault(client, _Part(BoundedSemaphore(self._of_one)))
        part.calls += 1
        try:
            # The client's own first: what waits for these waits in nobody's way.
            with part.places, self._places:
                yield
        finally:
            part.calls -= 1
            if not part.calls:
                del self._parts[client]
