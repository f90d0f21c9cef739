"""A client that sends fast does not keep others waiting."""

from types import SimpleNamespace

import gevent
import pytest
from flask import Flask, request
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.unreader import IterUnreader

from imageserver.api.wsgi.bodies import fair_reading
from imageserver.errors import BadRequest


def read(body):
    """Return what an application reads of a body, and how often another greenlet ran meanwhile."""
    app, runs = Flask(__name__), []

    @app.post("/")
    def view() -> str:
        return str(len(request.stream.read()))

    @app.errorhandler(BadRequest)
    def refuse(error: BadRequest) -> str:
        return error.sentence

    fair_reading.register(app)

    def others() -> None:
        while True:
            runs.append(1)
            gevent.sleep(1e-5)

    other = gevent.spawn(others)
    environ = {"wsgi.input": body, "wsgi.input_terminated": True}
    answer = app.test_client().post("/", environ_overrides=environ).text
    other.kill()
    return answer, len(runs)


def chunked(count, content=b"1\r\na\r\n"):
    data = content * count + b"0\r\n\r\n"
    pieces = (data[start : start + 8192] for start in range(0, len(data), 8192))
    return Body(ChunkedReader(SimpleNamespace(), IterUnreader(pieces)))


def test_others_get_their_turn_while_a_body_is_read():
    pieces = [b"x" * 2**20] * 8
    answer, runs = read(Body(LengthReader(IterUnreader(iter(pieces)), 8 * 2**20)))
    assert (answer, runs >= 8) == (str(8 * 2**20), True)


def test_others_get_their_turn_while_small_chunks_are_read():
    answer, runs = read(chunked(20_000))
    assert (answer, runs >= 100) == ("20000", True)


@pytest.fixture
def few_chunks(monkeypatch):
    monkeypatch.setattr(fair_reading, "MAX_CHUNKS", 100)


def test_a_body_of_too_many_chunks_is_refused(few_chunks):
    body = chunked(101)
    assert read(body)[0] == "The request body has more than 100 chunks."
    # gunicorn then closes the connection, where it cannot know what comes next.
    assert body.failed


def test_gunicorn_may_read_what_the_application_left(few_chunks):
    app = Flask(__name__)
    fair_reading.register(app)
    body = chunked(300)
    app.test_client().post("/", environ_overrides={"wsgi.input": body, "wsgi.input_terminated": True})
    assert len(body.read()) == 300
    assert not body.failed
