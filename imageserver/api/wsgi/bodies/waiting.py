"""The room for bodies and WebSocket messages that have arrived: each is in memory until its request is answered."""

from collections import Counter

from imageserver.errors import QueueFull

# Smaller ones are not counted: a request without an image is not refused because others have large ones.
MIN_COUNTED_BYTES = 2**16
# The rest is for other clients.
CLIENT_SHARE = 3 / 4
RETRY_SECONDS = 5.0


class WaitingBodies:
    """Counts the bytes of each client; of all together there are at most `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: Counter[str] = Counter()

    def hold(self, client: str, size: int) -> None:
        """Count a body until it is released; raises QueueFull where it finds no room."""
        if size < MIN_COUNTED_BYTES:
            return
        all_fit = self._held.total() + size <= self._max_bytes
        if not all_fit or self._held[client] + size > CLIENT_SHARE * self._max_bytes:
            raise QueueFull(
                "Too many bytes of requests wait for their answers (MAX_WAITING_MB); try again later.",
                retry_after=RETRY_SECONDS,
            )
        self._held[client] += size

    def release(self, client: str, size: int) -> None:
        """Count a body no longer."""
        if size < MIN_COUNTED_BYTES:
            return
        self._held[client] -= size
        if not self._held[client]:
            del self._held[client]
