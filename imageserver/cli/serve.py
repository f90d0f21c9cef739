"""Serve the same application with gevent's own server, for systems without gunicorn."""

import gevent.monkey

gevent.monkey.patch_all()

import logging  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import gevent  # noqa: E402
from gevent.pool import Pool  # noqa: E402

from imageserver import startup  # noqa: E402
from imageserver.api.credentials.accepted_secrets import AcceptedSecrets  # noqa: E402
from imageserver.api.credentials.api_keys import read_keyring  # noqa: E402
from imageserver.api.credentials.signing_certificate import require_signing  # noqa: E402
from imageserver.api.page.styles import require_styles  # noqa: E402
from imageserver.api.request_context import EXTENSION  # noqa: E402
from imageserver.app import create_app  # noqa: E402
from imageserver.cli.gevent_server import GeventServer, RequestHandler  # noqa: E402
from imageserver.cluster.nodes.own_node import OwnNode  # noqa: E402
from imageserver.dispatch.client import launch  # noqa: E402
from imageserver.dispatch.client.runtime_dir import RuntimeDir  # noqa: E402
from imageserver.dispatch.seats.configuration.required_cards import require_cards  # noqa: E402
from imageserver.outputs.object_store.requirement import require_filesystem  # noqa: E402
from imageserver.outputs.state_check import check_state  # noqa: E402
from imageserver.settings.source import load_settings  # noqa: E402
from imageserver.telemetry.logs import require_log_file  # noqa: E402
from imageserver.telemetry.tracing.requirement import check_tracing  # noqa: E402

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 1000


def serve() -> int:
    """Serve until SIGTERM or Ctrl+C, finish the running generations, and return the exit status."""
    settings = load_settings()
    RuntimeDir(os.getpid()).require(has_store=bool(settings.output_url))
    read_keyring(settings)
    require_styles(settings)
    startup.require_closed(settings, [settings.host])
    startup.require_free_port(settings)
    require_cards(settings)
    require_filesystem(settings)
    require_signing(settings)
    for warning in (check_tracing(settings), check_state(settings.resolve(settings.state_dir))):
        if warning:
            startup.say(warning)
    secrets = AcceptedSecrets()
    secrets.accept(settings)
    require_log_file(settings)
    startup.warn_of_unknown_settings()
    node = OwnNode(settings)
    node.start()
    startup.say(startup.greeting(settings))
    app = create_app(settings, os.getpid(), secrets)
    connections = Pool(MAX_CONNECTIONS)
    server = GeventServer(
        app.extensions[EXTENSION].connections,
        (settings.host, settings.port),
        app,
        spawn=connections,
        handler_class=RequestHandler,
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
