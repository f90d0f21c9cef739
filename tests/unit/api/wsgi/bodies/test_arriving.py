"""Bodies that are still arriving take a bounded memory: the one that began first makes room."""

import io
import socket

import pytest
from flask import Flask, request

from imageserver.api.wsgi.bodies.arriving import ARRIVING_KEY, ArrivingBody, register
from imageserver.api.wsgi.bodies.room import ArrivingBodies
from imageserver.api.wsgi.bodies.waiting import MIN_COUNTED_BYTES, WaitingBytes
from imageserver.api.wsgi.disconnect import SOCKET_KEY
from imageserver.errors import BodyTooSlow
from imageserver.web_addresses import TrustedProxies

LARGE = 10 * MIN_COUNTED_BYTES


def body_of(bodies, length=None, content=b"x" * 1000, connection=None):
    environ = {"wsgi.input": io.BytesIO(content), "CONTENT_LENGTH": length, SOCKET_KEY: connection}
    return ArrivingBody(bodies, WaitingBytes(LARGE), environ, "10.0.0.1")


def test_the_one_that_began_first_makes_room_and_is_woken():
    bodies = ArrivingBodies(100)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        first, second = body_of(bodies, "500", connection=ours), body_of(bodies)
        first.read(40)
        second.read(50)
        assert first.read(10) == b"x" * 10
        second.read(40)
        assert ours.recv(1) == b"", "what waits for the rest of it would wait for ever"
        with pytest.raises(BodyTooSlow, match="MAX_ARRIVING_MB"):
            first.read(10)
    assert second.read(10) == b"x" * 10, "what was given up is counted no longer"


@pytest.mark.parametrize("length", ["60", None], ids=["with its length", "chunked"])
def test_what_has_arrived_is_not_counted(length):
    bodies = ArrivingBodies(100)
    for _ in range(5):
        whole = body_of(bodies, length, b"x" * 60)
        # Of a body in chunks, the second says that there is no more.
        assert whole.read(60) + whole.read(60) == b"x" * 60


def test_a_body_that_nobody_reads_to_its_end_is_not_counted_after_its_request():
    app = Flask(__name__)
    register(app, 100, LARGE, TrustedProxies(""))

    @app.post("/")
    def read_a_part():
        return request.stream.read(60)

    client = app.test_client()
    assert [client.post("/", data=b"x" * 90).status_code for _ in range(5)] == [200] * 5


def test_one_that_fails_as_it_is_given_up_says_that_it_was_given_up():
    bodies = ArrivingBodies(100)
    first, second = body_of(bodies), body_of(bodies)
    first.read(40)
    second.read(70)
    first._body.close()
    with pytest.raises(BodyTooSlow):
        first.read(10)


def test_bodies_behind_a_trusted_proxy_are_their_own_clients():
    app, clients = Flask(__name__), []
    register(app, 100, LARGE, TrustedProxies("127.0.0.1"))

    @app.post("/")
    def remember_client():
        clients.append(request.environ["wsgi.input"].client)
        assert isinstance(request.environ[ARRIVING_KEY], ArrivingBodies)
        return ""

    for forwarded in ("192.0.2.7", "2001:db8::7"):
        app.test_client().post("/", headers={"X-Forwarded-For": forwarded})
    assert clients == ["192.0.2.7", "2001:db8::/64"]
