"""What a WebSocket client sends is read in pieces that keep nobody else waiting."""

from wsproto.connection import Connection, ConnectionType

from imageserver.api.dialects.websocket.views import RECEIVE_BYTES
from tests.support.blocking import cpu_seconds

# A fragment of one byte, masked by zeros, of a message that does not end.
FRAGMENT = b"\x00\x81\0\0\0\0a"


def seconds_of(size: int) -> float:
    connection = Connection(ConnectionType.SERVER)
    data = b"\x01" + (FRAGMENT * (size // len(FRAGMENT)))[1:]
    connection.receive_data(data)
    return cpu_seconds(lambda: list(connection.events()))


def test_a_piece_of_the_smallest_frames_takes_a_fraction_of_what_64_kib_of_them_take():
    assert min(seconds_of(RECEIVE_BYTES) for _ in range(3)) < seconds_of(65536) / 2
