"""Serve the same application with gevent's own server, for systems without gunicorn."""

import gevent.monkey

gevent.monkey.patch_all()

import logging  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from gevent.pool import Pool  # noqa: E402
from gevent.pywsgi import WSGIHandler, WSGIServer  # noqa: E402

from imageserver import startup  # noqa: E402
from imageserver.api.credentials.api_keys import read_keyring  # noqa: E402
from imageserver.api.request_context import EXTENSION  # noqa: E402
from imageserver.api.wsgi import send_timeout  # noqa: E402
from imageserver.api.wsgi.connections import Connection, Connections  # noqa: E402
from imageserver.api.wsgi.disconnect import SOCKET_KEY  # noqa: E402
from imageserver.app import create_app  # noqa: E402
from imageserver.cluster.own_node import OwnNode  # noqa: E402
from imageserver.dispatch.client import launch  # noqa: E402
from imageserver.dispatch.client.runtime_dir import RuntimeDir  # noqa: E402
from imageserver.dispatch.seats.required_cards import require_cards  # noqa: E402
from imageserver.outputs.state_check import check_state  # noqa: E402
from imageserver.settings.source import load_settings  # noqa: E402

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 1000


class _GeventServer(WSGIServer):  # type: ignore[misc]
    # Requests in progress; idle kept-alive connections do not count.
    busy = 0

    def __init__(self, connections: Connections, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._connections = connections
        self.counted: dict[Any, Connection] = {}

    def handle(self, client: Any, peer: Any) -> None:
        connection = self._connections.open(client, peer)
        if connection is None:
            return
        self.counted[client] = connection
        try:
            super().handle(client, peer)
        finally:
            del self.counted[client]
            self._connections.close(connection)


class _RequestHandler(WSGIHandler):  # type: ignore[misc]
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


def serve() -> int:
    """Serve until SIGTERM or Ctrl+C, finish the running generations, and return the exit status."""
    settings = load_settings()
    read_keyring(settings)
    startup.require_closed(settings, [settings.host])
    startup.require_free_port(settings)
    require_cards(settings)
    if warning := check_state(settings.resolve(settings.state_dir)):
        startup.say(warning)
    startup.warn_of_unknown_settings()
    node = OwnNode(settings)
    node.start()
    startup.say(startup.greeting(settings))
    app = create_app(settings, owner=os.getpid())
    connections = Pool(MAX_CONNECTIONS)
    server = _GeventServer(
        app.extensions[EXTENSION].connections,
        (settings.host, settings.port),
        app,
        spawn=connections,
        handler_class=_RequestHandler,
        log=None,
    )

    def stop(*_: object) -> None:
        app.extensions[EXTENSION].drain()
        gevent.spawn(server.close)

    listen = signal.signal if sys.platform == "win32" else gevent.signal_handler
    for number in (signal.SIGTERM, signal.SIGINT):
        listen(number, stop)
    server.start()
    server._stop_event.wait()
    deadline = time.monotonic() + settings.graceful_timeout
    while server.busy and time.monotonic() < deadline:
        gevent.sleep(0.05)
    connections.kill(timeout=1.0)
    # Its link would start another dispatcher for the one that ends.
    app.extensions[EXTENSION].client.close()
    launch.stop(RuntimeDir(os.getpid()))
    node.stop()
    return 0
