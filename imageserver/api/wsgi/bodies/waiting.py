"""The room for what is in memory until a request is answered: its body, its pixels, and its answer until that is sent.

Bodies and WebSocket messages that have arrived count, pixels that wait for a better prompt, and large answers.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator

from imageserver.errors import QueueFull

# Smaller ones are not counted: a request without an image is not refused because others have large ones.
MIN_COUNTED_BYTES = 2**16
# The rest is for other clients.
CLIENT_SHARE = 3 / 4
# What is larger asks for no more, so that it finds room beside its request alone, which has a quarter at most.
MAX_ASKED_SHARE = 1 / 2
RETRY_SECONDS = 5.0


class WaitingBytes:
    """Counts the bytes of each client, at most `max_bytes` of all together, but for what cannot be refused any more."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: Counter[str] = Counter()

    def hold(self, client: str, size: int) -> None:
        """Count bytes until they are released; raises QueueFull where they find no room."""
        if size < MIN_COUNTED_BYTES:
            return
        self._refuse_without_room(client, size)
        self._held[client] += size

    def add(self, client: str, size: int) -> None:
        """Count bytes without asking for room: what a device has generated is not refused.

        Beyond a client's share they take nobody else's room.
        """
        if size >= MIN_COUNTED_BYTES:
            self._held[client] += size

    def release(self, client: str, size: int) -> None:
        """Count bytes no longer."""
        if size < MIN_COUNTED_BYTES:
            return
        self._held[client] -= size
        if not self._held[client]:
            del self._held[client]

    @contextlib.contextmanager
    def held(self, client: str, size: int) -> Iterator[None]:
        """Count bytes meanwhile; raises QueueFull where they find no room."""
        self.hold(client, size)
        try:
            yield
        finally:
            self.release(client, size)

    @contextlib.contextmanager
    def added(self, client: str, size: int) -> Iterator[None]:
        """Count bytes meanwhile, whether they find room or not."""
        self.add(client, size)
        try:
            yield
        finally:
            self.release(client, size)

    def refuse_overdrawn(self, client: str) -> None:
        """Raise QueueFull where answers that a client does not read have taken more than its room."""
        self._refuse_without_room(client, 0)

    def _refuse_without_room(self, client: str, size: int) -> None:
        asked = min(size, MAX_ASKED_SHARE * self._max_bytes)
        share = CLIENT_SHARE * self._max_bytes
        # Not all of an answer that nobody reads: it would keep everybody else from the server for as long.
        all_fit = sum(min(held, share) for held in self._held.values()) + asked <= self._max_bytes
        if not all_fit or self._held[client] + asked > share:
            raise QueueFull(
                "Too many bytes of requests and their answers wait (MAX_WAITING_MB); try again later.",
                retry_after=RETRY_SECONDS,
            )
