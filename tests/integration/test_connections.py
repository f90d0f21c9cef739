"""One client that opens more connections than there are keeps nobody out, itself included (fault 46)."""

import contextlib
import json

import pytest
import requests
from requests.adapters import HTTPAdapter
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.support.server import SERVE

# Idle, in the middle of the headers, and in the middle of the body.
SLOW = [b"", b"GET / HTTP/1.1\r\nHost: loc", b"POST /generate HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n{"]
MANY = 1100


class OtherAddress(HTTPAdapter):
    """Sends from another address of the loopback network."""

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, source_address=("127.0.0.2", 0), **kwargs)


def statuses(server):
    """Return what clients of this address and of another one get."""
    with requests.Session() as other:
        other.mount("http://", OtherAddress())
        answers = [server.get("/livez", timeout=10), other.get(f"{server.url}/livez", timeout=10)]
    return [answer.status_code for answer in answers]


@pytest.mark.fault(46)
def test_more_slow_connections_than_the_server_has_keep_nobody_out(own_server):
    for kinds in (SLOW, SLOW[2:]):
        with contextlib.ExitStack() as stack:
            for number in range(MANY):
                stack.enter_context(own_server.connect()).sendall(kinds[number % len(kinds)])
            assert statuses(own_server) == [200, 200]
    assert own_server.generate().ok


@pytest.mark.parametrize("command", [None, SERVE], ids=["gunicorn", "serve"])
def test_an_address_may_have_so_many_websockets_and_still_ask(own_servers, command):
    server = own_servers(command=command, MAX_CONNECTIONS_PER_ADDRESS="8", TRUSTED_PROXIES="127.0.0.3")
    address = f"ws://127.0.0.1:{server.port}/ws/generate"
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(connect(address))
        with pytest.raises(InvalidStatus) as refused:
            connect(address)
        body = json.loads(refused.value.response.body)
        assert (refused.value.response.status_code, body["code"]) == (429, "too_many_connections")
        for _ in range(20):
            stack.enter_context(server.connect())
        assert statuses(server) == [200, 200]
        for client in ("198.51.100.1", "198.51.100.2"):
            for _ in range(4):
                headers = {"X-Forwarded-For": client}
                proxied = connect(address, additional_headers=headers, source_address=("127.0.0.3", 0))
                stack.enter_context(proxied)
    with connect(address):
        assert statuses(server) == [200, 200], "those that have ended do not count"
