"""One address may have so many connections, and makes room for the next one by its own idle or slow ones."""

from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from imageserver.api.wsgi.connections import Connections
from imageserver.api.wsgi.worker import BoundedWorker
from imageserver.web_addresses import TrustedProxies

ANN, BOB = ("192.0.2.1", 1), ("192.0.2.2", 1)


class Limited(Connections):
    """Addresses may have three connections; `clients` are their sockets."""

    def __init__(self, limit=3, proxies=""):
        super().__init__(limit, TrustedProxies(proxies))
        self.clients = []

    def add(self, peer=ANN, *, at_work=False):
        self.clients.append(Mock())
        connection = self.open(self.clients[-1], peer)
        if connection is not None and at_work:
            connection.begin_request()
        return connection

    @property
    def cut(self):
        return [number for number, client in enumerate(self.clients) if client.dup.return_value.shutdown.called]


def test_the_longest_idle_connection_of_the_address_makes_room_for_its_next():
    limited = Limited()
    first, second, _ = (limited.add() for _ in range(3))
    first.begin_request()
    first.end_request()
    assert limited.add() is not None
    assert limited.cut == [1], "the first has just had a request"
    limited.close(second)
    assert limited.add() is not None
    assert limited.cut == [1, 2]


def test_connections_at_work_are_never_cut_and_one_more_is_refused_but_not_another_address_s():
    limited = Limited()
    working = [limited.add(at_work=True) for _ in range(3)]
    assert limited.add() is None
    assert limited.add(BOB) is not None
    limited.close(working[0])
    assert limited.add(at_work=True) is not None
    working[1].is_waiting = True
    assert limited.add() is not None, "a slow body gives way"
    assert limited.cut == [1]


@pytest.mark.parametrize(
    ("limit", "proxies", "peer"),
    [(0, "", ANN), (3, "192.0.2.0/24", ANN), (3, "::ffff:192.0.2.1,192.0.2.1", ANN), (3, "", ""), (3, "", b"")],
    ids=["no limit", "proxy", "proxies", "Unix socket", "another Unix socket"],
)
def test_without_a_limit_from_a_trusted_proxy_and_on_a_unix_socket_any_number_is_open(limit, proxies, peer):
    limited = Limited(limit, proxies)
    assert None not in [limited.add(peer, at_work=True) for _ in range(10)]
    assert limited.cut == []


def test_a_network_of_ipv6_is_one_address_and_a_mapped_address_of_ipv4_is_that_address():
    limited = Limited()
    for number in range(3):
        limited.add((f"2001:db8::{number}", 1, 0, 0), at_work=True)
    assert limited.add(("2001:db8::ffff", 1, 0, 0)) is None
    assert limited.add(("2001:db8:0:1::1", 1, 0, 0)) is not None
    for peer in (ANN, ANN, ("::ffff:192.0.2.1", 1, 0, 0)):
        limited.add(peer, at_work=True)
    assert limited.add() is None


def test_half_of_the_connections_may_be_websockets():
    connections = Connections(4, TrustedProxies(""))
    assert [connections.open_websocket("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert connections.open_websocket("192.0.2.2")
    connections.close_websocket("192.0.2.1")
    assert connections.open_websocket("192.0.2.1")
    unlimited = Connections(0, TrustedProxies(""))
    assert all(unlimited.open_websocket("192.0.2.1") for _ in range(10))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.9", "198.51.100.1", "192.0.2.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.5, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.1"),
        ("", "198.51.100.1", ""),
    ],
)
def test_only_a_trusted_proxy_is_believed_whom_it_speaks_for(peer, forwarded, client):
    assert TrustedProxies("10.0.0.0/8").client_of(peer, forwarded) == client


def test_a_connection_waits_while_the_worker_reads_from_it_and_works_otherwise(monkeypatch):
    limited, states = Limited(), []
    connection = limited.add()
    worker = BoundedWorker.__new__(BoundedWorker)
    worker._counted = {"socket": connection}
    request = SimpleNamespace(unreader=SimpleNamespace(chunk=lambda size: states.append(connection.is_waiting)))

    def answer(*_):
        states.append(connection.is_waiting)
        request.unreader.chunk(1)
        states.append(connection.is_waiting)

    monkeypatch.setattr("gunicorn.workers.ggevent.GeventWorker.handle_request", answer)
    worker.handle_request("", request, "socket", ANN)
    assert (states, connection.is_waiting) == ([False, True, False], True)
