"""Malformed HTTP is refused by `serve` in JSON, and no request is smuggled in the body of another one."""

import json

import gevent
import pytest
from gevent import socket

from imageserver.api.wsgi.connections import Connections
from imageserver.cli.gevent_server import GeventServer, RequestHandler
from imageserver.web_addresses import TrustedProxies

POST = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


@pytest.fixture
def ask():
    """Send bytes to a server that answers each request with its body; return the head and the body of the answer."""

    def application(environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    connections = Connections(2, TrustedProxies(""))
    server = GeventServer(
        connections, ("127.0.0.1", 0), application, handler_class=RequestHandler, log=None, error_log=None
    )
    server.start()

    def send(request):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as client:
            client.sendall(request)
            head, _, body = client.makefile("rb").read().decode().partition("\r\n\r\n")
        return head, body

    send.server = server
    yield send
    server.stop()


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"NO HTTP AT ALL\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "bad_request"),
        (b"GET /%s HTTP/1.1\r\n\r\n" % (b"a" * 9000), 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\n%s\r\n" % b"".join(b"X-%d: 1\r\n" % number for number in range(200)), 400, "bad_request"),
        (POST + b"Content-Length: x\r\n\r\n", 400, "bad_request"),
    ],
)
def test_malformed_http_is_refused_in_json_without_a_traceback(ask, capsys, request_bytes, status, code):
    head, body = ask(request_bytes)
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert "nosniff" in head
    assert json.loads(body)["code"] == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"Content-Length: +5\r\n\r\nhello",
        b"Content-Length: 0_5\r\n\r\nhello",
        b"Content-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n\r\nhello",
        b"Content-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nhello",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\nhello",
    ],
)
def test_a_body_whose_end_a_proxy_may_see_elsewhere_is_refused(ask, framing):
    head, body = ask(POST + framing)
    assert head.startswith("HTTP/1.1 400 ")
    assert json.loads(body)["code"] == "bad_request"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_well_framed_bodies_are_read(ask, framing):
    head, body = ask(POST + framing)
    assert (head.startswith("HTTP/1.1 200 "), body) == (True, "hello")


def test_one_connection_too_many_that_are_all_at_work_gets_429(ask):
    working = [socket.create_connection(("127.0.0.1", ask.server.server_port), timeout=5) for _ in range(2)]
    for client in working:
        client.sendall(POST + b"Content-Length: 5\r\n\r\nhel")
    gevent.sleep(0.1)
    head, body = ask(b"")
    assert head.startswith("HTTP/1.1 429 ")
    assert json.loads(body)["code"] == "too_many_connections"
    for client in working:
        client.close()
    gevent.sleep(0.1)
