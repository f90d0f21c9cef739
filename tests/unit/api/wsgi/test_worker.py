"""A worker that ends serves what came in before it closed its listeners."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.workers.ggevent import GeventWorker

from imageserver.api.wsgi.worker import BoundedWorker


def test_a_connection_that_came_before_its_listener_was_closed_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address, served = listener.getsockname(), []
    monkeypatch.setattr(GeventWorker, "handle", lambda self, listener, *_: served.append(listener.getsockname()))

    def run(self: Any) -> None:
        listener.close()
        self.handle(listener, object(), address)

    monkeypatch.setattr(GeventWorker, "run", run)
    worker = BoundedWorker(1, 1, [listener], None, 30, Config(), None)
    connections = SimpleNamespace(open=lambda *_: object(), close=lambda connection: None)
    worker.wsgi = SimpleNamespace(extensions={"imageserver": SimpleNamespace(connections=connections)})
    worker.run()
    worker.tmp.close()
    assert served == [address]
