"""gevent's own server with a limit of the connections of one address, strict framing, and errors in JSON."""

import contextlib
import logging
from http.client import HTTPException
from typing import Any

from gevent.pywsgi import WSGIHandler, WSGIServer

from imageserver.api.wsgi import send_timeout
from imageserver.api.wsgi.connections import Connection, Connections
from imageserver.api.wsgi.disconnect import SOCKET_KEY
from imageserver.api.wsgi.refused_request import TOO_MANY_CONNECTIONS, refusal

logger = logging.getLogger(__name__)

REFUSALS = {
    "400": refusal(400, "Bad Request", "Bad Request: the request is not well-formed HTTP."),
    "414": refusal(414, "URI Too Long", "URI Too Long: the request line is too long."),
}


class GeventServer(WSGIServer):  # type: ignore[misc]
    """Counts every connection from its acceptance to its end, and the requests that are at work."""

    # Requests in progress; idle kept-alive connections do not count.
    busy = 0

    def __init__(self, connections: Connections, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._connections = connections
        self.counted: dict[Any, Connection] = {}

    def handle(self, client: Any, peer: Any) -> None:
        connection = self._connections.open(client, peer)
        if connection is None:
            with contextlib.suppress(OSError), contextlib.closing(client):
                client.sendall(TOO_MANY_CONNECTIONS)
            return
        self.counted[client] = connection
        try:
            super().handle(client, peer)
        finally:
            del self.counted[client]
            self._connections.close(connection)


class RequestHandler(WSGIHandler):  # type: ignore[misc]
    """The requests of one connection."""

    def handle_one_request(self) -> Any:
        """Answer malformed HTTP in JSON: gevent returns the status and an empty answer."""
        result = super().handle_one_request()
        return (result[0], REFUSALS[result[0]]) if isinstance(result, tuple) else result

    def read_request(self, raw_requestline: str) -> bool:
        """Refuse a body whose end a proxy may see elsewhere, and take the rest of it for another request."""
        try:
            super().read_request(raw_requestline)
        except HTTPException as error:  # too many headers, which gevent would log with a traceback
            raise ValueError(str(error)) from None
        codings, lengths = (self.headers.get_all(name, []) for name in ("Transfer-Encoding", "Content-Length"))
        # Of a chunked body, gevent has dropped the length.
        well_framed = [each.lower() for each in codings] in ([], ["chunked"]) and len(lengths) <= 1
        return well_framed and all(length.isascii() and length.isdigit() for length in lengths)

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        environ[SOCKET_KEY] = self.socket
        return environ

    def run_application(self) -> None:
        self.server.busy += 1
        connection = self.server.counted[self.socket]
        connection.begin_request()
        try:
            super().run_application()
        except StopIteration:
            # flask-sock ends a WebSocket this way under gunicorn, whose socket key this server uses.
            self.close_connection = True
        finally:
            connection.end_request()
            self.server.busy -= 1

    def handle_error(self, kind: Any, error: Any, trace: Any) -> None:
        if send_timeout.is_stalled(error):
            logger.warning(send_timeout.SENTENCE)
            self.close_connection = True
        else:
            super().handle_error(kind, error, trace)
