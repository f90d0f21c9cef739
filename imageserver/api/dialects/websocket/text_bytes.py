"""Keep the text of a WebSocket's messages as bytes, which the library would join and decode at once.

An emoji in 19 MiB of text made it four times as long, and kept every other client waiting for 0.1 s.
"""

from collections.abc import Iterator
from typing import Any

from wsproto.events import BytesMessage, Event, TextMessage

from imageserver.api.dialects.websocket.arriving_message import ArrivingMessage

# In place of each piece of a binary message: text in UTF-8 has no such byte.
BINARY = b"\xff"


class TextAsBytes:
    """The protocol of one connection, `WSConnection` of wsproto; texts leave it as bytes, which it has checked."""

    def __init__(self, protocol: Any, message: ArrivingMessage) -> None:
        self._protocol = protocol
        self._message = message

    def send(self, event: Event) -> bytes:
        data: bytes = self._protocol.send(event)
        return data

    def receive_data(self, data: bytes) -> None:
        self._protocol.receive_data(data)

    def events(self) -> Iterator[Event]:
        """Yield what has arrived."""
        for event in self._protocol.events():
            if isinstance(event, TextMessage | BytesMessage):
                data = event.data.encode() if isinstance(event, TextMessage) else BINARY
                event = BytesMessage(data, event.frame_finished, event.message_finished)
                self._message.count(len(data), is_last=event.message_finished)
            yield event
