"""A body whose chunks are malformed is the client's fault, under either server."""

import io
from types import SimpleNamespace

import pytest
from flask import Flask, request
from gevent.pywsgi import Input
from gunicorn.http.body import Body, ChunkedReader
from gunicorn.http.unreader import IterUnreader

from imageserver.api.wsgi.bodies import body_timeout, fair_reading, malformed_body
from imageserver.errors import BadRequest


def under_gunicorn(content):
    message = SimpleNamespace(
        limit_request_fields=100, limit_request_field_size=1000, parse_headers=lambda *args, **options: []
    )
    return Body(ChunkedReader(message, IterUnreader([content])))


def under_gevent(content):
    return Input(io.BytesIO(content), None, chunked_input=True)


def read(body):
    app = Flask(__name__)

    @app.post("/")
    def view() -> str:
        return request.stream.read().decode()

    @app.errorhandler(BadRequest)
    def refuse(error: BadRequest) -> str:
        return error.sentence

    body_timeout.register(app, 10)
    malformed_body.register(app)
    fair_reading.register(app)
    environ = {"wsgi.input": body, "wsgi.input_terminated": True}
    answer = app.test_client().post("/", environ_overrides=environ)
    # What follows must not be read as a request.
    assert (answer.headers.get("Connection") == "close") == ("malformed" in answer.text)
    return answer.text


@pytest.mark.parametrize("server", [under_gunicorn, under_gevent])
@pytest.mark.parametrize(
    "content",
    [b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n{}\r\n0\r\n\r\n", b"0x2\r\n{}\r\n0\r\n\r\n", b"\r\n\r\n", b"\xff\r\n{}\r\n"],
)
def test_a_wrong_chunk_size_is_refused(server, content):
    assert read(server(content)) == "The chunks of the request body are malformed."


@pytest.mark.parametrize("content", [b"5\r\n{}\r\n0\r\n\r\n", b"2\r\n{}XX0\r\n\r\n"])
def test_a_chunk_of_another_length_than_announced_is_refused(content):
    assert read(under_gunicorn(content)) == "The chunks of the request body are malformed."


@pytest.mark.parametrize("server", [under_gunicorn, under_gevent])
def test_a_right_body_is_read(server):
    assert read(server(b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")) == "{}"
