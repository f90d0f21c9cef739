"""What gunicorn refuses itself is answered in JSON."""

import json
import socket

import pytest
from gunicorn import util

from imageserver.api.wsgi.refused_request import RefusedRequest


def answer(status, reason, details):
    """Return the head and the body of what a client gets when gunicorn writes its page."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        util.write_error(RefusedRequest(ours), status, reason, details)
        head, _, body = theirs.recv(10_000).decode().partition("\r\n\r\n")
    assert f"Content-Length: {len(body)}" in head
    return head, json.loads(body)


@pytest.mark.parametrize(
    ("status", "reason", "details", "error"),
    [
        (400, "Bad Request", "Invalid Request Line '<script>\n'", "Bad Request: Invalid Request Line '<script>\n'."),
        (414, "URI Too Long", "Request Line is too large (5000 > 4094)", "Request Line is too large (5000 > 4094)."),
        (500, "Internal Server Error", "", "Internal Server Error."),
    ],
)
def test_the_page_of_gunicorn_becomes_an_error_in_json(status, reason, details, error):
    head, body = answer(status, reason, details)
    assert head.startswith(f"HTTP/1.1 {status} {reason}\r\n")
    assert "Content-Type: application/json" in head
    assert "frame-ancestors 'none'" in head
    assert body["error"].endswith(error)
    assert body["code"] == reason.lower().replace(" ", "_")
    assert set(body) == {"error", "code", "param", "request_id"}
