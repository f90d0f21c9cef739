"""The message that a client of a WebSocket is sending, counted with the bodies of other requests (MAX_ARRIVING_MB)."""

from collections.abc import Callable

from imageserver.api.wsgi.bodies.room import ArrivingBodies


class ArrivingMessage:
    """Counts the pieces of one message after another; `give_up` ends the connection once one makes room for others."""

    def __init__(self, bodies: ArrivingBodies, client: str, give_up: Callable[[], None]) -> None:
        self.client = client
        self.give_up = give_up
        self._bodies = bodies

    def count(self, size: int, *, is_last: bool) -> None:
        """Count a piece; with the last one the message has arrived."""
        if is_last:
            self.end()
        else:
            self._bodies.add(self, size)

    def end(self) -> None:
        """Count the message no longer."""
        self._bodies.end(self)
