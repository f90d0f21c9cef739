"""The HTTP worker's handle on a watched request: it yields the request's events and, where wanted, its previews."""

import queue
from collections.abc import Callable, Iterator

from imageserver.dispatch.client.ticket import PreviewImage, Ticket, Update, as_error
from imageserver.protocol import messages


class WatchTicket(Ticket):
    """Receives the events of a watched request; of each image the last preview waits: the client may read slowly."""

    def __init__(self, job: int, timeout: float, cancel: Callable[[int], None]) -> None:
        super().__init__(job, timeout, cancel)
        # By the indexes of their images.
        self._previews: dict[int, PreviewImage] = {}

    def receive(self, message: Update, raw: bytes = b"") -> None:
        if isinstance(message, messages.Preview):
            was_waiting = message.index in self._previews
            self._previews[message.index] = PreviewImage(message, raw)
            if was_waiting:
                return
            raw = b""
        super().receive(message, raw)

    def events(self, pause: float) -> Iterator[messages.JobEvent | PreviewImage | None]:
        """Yield a watched request's events until it has ended, None after every `pause` seconds without any."""
        while True:
            try:
                message, _ = self.received.get(timeout=pause)
            except queue.Empty:
                yield None
                continue
            match message:
                case messages.JobEvent():
                    yield message
                    if message.status.completed_at is not None:
                        return
                case messages.Preview():
                    yield self._previews.pop(message.index)
                case messages.JobList():
                    return  # there is no such request
                case _:
                    raise as_error(message)
