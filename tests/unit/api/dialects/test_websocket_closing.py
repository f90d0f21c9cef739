"""A connection that the server has ended leaves nothing behind, whatever its client sends instead of closing."""

from types import SimpleNamespace

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from simple_websocket import Server
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from imageserver.api.dialects.websocket import client_socket, views
from imageserver.api.dialects.websocket.arriving_message import ArrivingMessage
from imageserver.api.wsgi.bodies.room import ArrivingBodies
from imageserver.api.wsgi.disconnect import SOCKET_KEY

HANDSHAKE = {
    "REQUEST_METHOD": "GET", "PATH_INFO": views.PATH, "QUERY_STRING": "", "HTTP_HOST": "127.0.0.1",
    "HTTP_UPGRADE": "websocket", "HTTP_CONNECTION": "Upgrade", "HTTP_SEC_WEBSOCKET_VERSION": views.VERSION,
    "HTTP_SEC_WEBSOCKET_KEY": "AAAAAAAAAAAAAAAAAAAAAA==",
}  # fmt: skip
# The first byte of the server's close frame.
CLOSE_FRAME = b"\x88"


def reader_of(target):
    """Return what a thread is in a worker of gunicorn, where gevent takes its place."""
    return gevent.Greenlet(target)


@pytest.fixture
def ends():
    """The two ends of a connection: the server's and the client's."""
    both = socket.socketpair()
    yield both
    for end in both:
        end.close()


@pytest.fixture
def connection(ends, monkeypatch):
    monkeypatch.setattr(views, "CLOSE_SECONDS", 0.2)
    monkeypatch.setattr(client_socket, "CLOSE_SECONDS", 0.2)
    own = client_socket.ClientSocket(ends[0], lambda: 5.0)
    connection = Server({SOCKET_KEY: own, **HANDSHAKE}, thread_class=reader_of, event_class=Event)
    own.serve(connection, ArrivingMessage(ArrivingBodies(1000), "192.0.2.1", own.cut))
    yield connection
    connection.thread.kill()


def test_a_message_after_the_end_keeps_no_reader_and_is_not_kept(connection, ends):
    client = ends[1]
    message = Connection(ConnectionType.CLIENT).send(TextMessage("a" * 1000))
    ending = gevent.spawn(views._Session(SimpleNamespace(), connection, 1, "192.0.2.1").end)
    with gevent.Timeout(5):
        while CLOSE_FRAME not in client.recv(4096):
            pass
        client.sendall(message)
        ending.get()
        connection.thread.join(2)
    assert connection.thread.ready(), "the reader waits for a session that has ended"
    assert connection.input_buffer == []


def test_a_reader_that_waits_for_its_session_is_woken_when_the_connection_is_cut(ends):
    own = client_socket.ClientSocket(ends[0], lambda: 5.0)
    reader = SimpleNamespace(ws=None, connected=True, input_buffer=[b"{}"])
    own.serve(reader, ArrivingMessage(ArrivingBodies(1000), "192.0.2.1", own.cut))
    gevent.spawn_later(0.01, own.cut)
    with gevent.Timeout(5):
        assert own.recv(4096) == b""
