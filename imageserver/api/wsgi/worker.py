"""gunicorn's gevent worker with a limit of the connections of one address, and with errors in JSON."""

import contextlib
from dataclasses import dataclass
from typing import Any

from gunicorn.workers.ggevent import GeventWorker

from imageserver.api.wsgi.connections import Connection, Connections
from imageserver.api.wsgi.refused_request import TOO_MANY_CONNECTIONS, RefusedRequest


@dataclass(frozen=True)
class _Listener:
    """A listener's address: a worker that ends closes the listener before it has served what came in last.

    gunicorn asks the socket itself then, which fails, and the client's request is lost.
    """

    address: Any

    def getsockname(self) -> Any:
        return self.address


class BoundedWorker(GeventWorker):  # type: ignore[misc]
    """Counts every connection from its acceptance to its end."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._counted: dict[Any, Connection] = {}
        self._listeners: dict[Any, _Listener] = {}

    def run(self) -> None:
        """Serve until the worker is told to end."""
        self._listeners = {listener: _Listener(listener.getsockname()) for listener in self.sockets}
        super().run()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        connections: Connections = self.wsgi.extensions["imageserver"].connections
        connection = connections.open(client, addr)
        if connection is None:
            with contextlib.suppress(OSError), contextlib.closing(client):
                if not self.cfg.is_ssl:
                    client.sendall(TOO_MANY_CONNECTIONS)
            return
        self._counted[client] = connection
        try:
            super().handle(self._listeners[listener], client, addr)
        finally:
            del self._counted[client]
            connections.close(connection)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Tell the connection when its request is at work, and when it waits for bytes of a slow body."""
        connection = self._counted[sock]
        connection.begin_request()
        read = req.unreader.chunk

        def chunk(*arguments: Any) -> Any:
            # Of a body that arrives slowly; `since` stays the beginning of its request.
            connection.is_waiting = True
            try:
                return read(*arguments)
            finally:
                connection.is_waiting = False

        req.unreader.chunk = chunk
        try:
            return super().handle_request(listener_name, req, sock, addr)
        finally:
            req.unreader.chunk = read
            connection.end_request()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        super().handle_error(req, RefusedRequest(client), addr, exc)
