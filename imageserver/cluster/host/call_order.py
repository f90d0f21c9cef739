"""Puts calls back into the order in which they were made: Ray lets small ones overtake those of more than 100 KB."""


class CallOrder:
    """Holds frames back until all earlier ones have come."""

    def __init__(self) -> None:
        self._early: dict[int, bytes] = {}
        self._next = 0

    def receive(self, number: int, frame: bytes) -> list[bytes]:
        """Return the frames that are due now, in order; a number that was there before changes nothing."""
        if number >= self._next:
            self._early[number] = frame
        due = []
        while (frame_due := self._early.pop(self._next, None)) is not None:
            self._next += 1
            due.append(frame_due)
        return due
