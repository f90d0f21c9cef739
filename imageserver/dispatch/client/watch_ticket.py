"""The HTTP worker's handle on a watched request: it yields the request's events and, where wanted, its previews."""

import queue
from collections.abc import Iterator

from imageserver.dispatch.client.ticket import PreviewImage, Ticket, Update, as_error
from imageserver.protocol import messages


class WatchTicket(Ticket):
    """Receives the events of a watched request, and of its previews keeps the last: the client may read slowly."""

    _preview: PreviewImage | None = None

    def receive(self, message: Update, raw: bytes = b"") -> None:
        if isinstance(message, messages.Preview):
            was_waiting, self._preview = self._preview is not None, PreviewImage(message, raw)
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
                    preview, self._preview = self._preview, None
                    yield preview
                case messages.JobList():
                    return  # there is no such request
                case _:
                    raise as_error(message)
