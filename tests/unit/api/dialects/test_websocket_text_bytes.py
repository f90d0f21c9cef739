"""Texts of a WebSocket arrive as bytes, whole and bounded, however they are cut."""

from types import SimpleNamespace

import pytest
from simple_websocket.ws import Base
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, Ping, TextMessage

from imageserver.api.dialects.websocket import frames
from imageserver.api.dialects.websocket.arriving_message import ArrivingMessage
from imageserver.api.dialects.websocket.text_bytes import TextAsBytes
from imageserver.api.wsgi.bodies.room import ArrivingBodies
from imageserver.errors import BadRequest

SENTENCE = '{"prompt": "a 🐈 and a 貓"}'


class MessageReader(Base):
    """The library's connection without its socket and thread; `piece` bytes arrive at a time."""

    def __init__(self, limit=None, bodies=None):
        self.cuts = 0
        self.message = ArrivingMessage(bodies or ArrivingBodies(1000), "192.0.2.1", self.cut)
        self.ws = TextAsBytes(Connection(ConnectionType.SERVER), self.message)
        self.client = Connection(ConnectionType.CLIENT)
        self.sock = SimpleNamespace(sent=b"")
        self.sock.send = lambda data: self.sock.__dict__.update(sent=self.sock.sent + data)
        self.event = SimpleNamespace(set=lambda: None)
        self.input_buffer, self.incoming_message, self.incoming_message_len = [], None, 0
        self.max_message_size, self.connected, self.is_server = limit, True, True

    def cut(self):
        self.cuts += 1

    def arrive(self, *events, piece):
        data = b"".join(map(self.client.send, events))
        for start in range(0, len(data), piece):
            self.ws.receive_data(data[start : start + piece])
            if not self._handle_events():
                break
        return self.input_buffer


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_a_text_is_whole_however_its_letters_are_cut(piece):
    received = MessageReader().arrive(
        TextMessage(SENTENCE[:13], message_finished=False), Ping(), TextMessage(SENTENCE[13:]), TextMessage("{}"),
        piece=piece,
    )  # fmt: skip
    assert received == [SENTENCE.encode(), b"{}"]
    assert frames.read(received[0]) == {"prompt": "a 🐈 and a 貓"}


@pytest.mark.parametrize("data", [b"", b"{}", SENTENCE.encode()])
def test_a_binary_message_is_refused_as_such(data):
    [message] = MessageReader().arrive(BytesMessage(data), piece=3)
    with pytest.raises(BadRequest, match="not binary"):
        frames.read(message)


def test_a_message_is_limited_by_its_bytes_not_by_its_letters():
    assert MessageReader(40).arrive(TextMessage("🐈" * 10), piece=7) == ["🐈".encode() * 10]
    reader = MessageReader(40)
    assert reader.arrive(TextMessage("🐈" * 11), piece=7) == []
    assert b"too big" in reader.sock.sent


def test_of_forty_messages_that_never_end_the_first_ones_are_cut():
    bodies = ArrivingBodies(1600)
    readers = [MessageReader(bodies=bodies) for _ in range(40)]
    for reader in readers:
        reader.arrive(TextMessage("a" * 100, message_finished=False), piece=1000)
    assert [reader.cuts for reader in readers] == [1] * 24 + [0] * 16
    for reader in readers[24:]:
        reader.message.end()
    readers[0].arrive(TextMessage("a" * 1600, message_finished=False), piece=1000)
    assert readers[-1].cuts == 0, "what a session has left behind is not counted after its end"


@pytest.mark.parametrize("message", [TextMessage("a" * 100), BytesMessage(b"a" * 100)], ids=["text", "binary"])
def test_messages_that_end_are_not_counted(message):
    bodies = ArrivingBodies(150)
    waiting, reader = MessageReader(bodies=bodies), MessageReader(bodies=bodies)
    waiting.arrive(TextMessage("a" * 50, message_finished=False), piece=7)
    for _ in range(5):
        reader.arrive(message, piece=7)
    assert (waiting.cuts, reader.cuts) == (0, 0)
