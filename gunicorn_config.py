"""gunicorn's settings: gevent workers that share one dispatcher, and hooks for a clear start and a clean stop."""

import os
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import qwen_image_server
from imageserver import startup
from imageserver.api.credentials.accepted_keys import AcceptedKeys
from imageserver.api.credentials.accepted_secrets import AcceptedSecrets
from imageserver.api.credentials.api_keys import require_entries
from imageserver.api.credentials.signing_certificate import require_signing
from imageserver.api.page.styles import require_styles
from imageserver.cli.guarded_reload import GuardedReload, listening_hosts
from imageserver.cli.worker_user import as_worker
from imageserver.cluster.nodes.own_node import OwnNode
from imageserver.dispatch.client import launch
from imageserver.dispatch.client.runtime_dir import RuntimeDir
from imageserver.dispatch.seats.configuration.required_cards import require_cards
from imageserver.outputs.object_store.requirement import require_filesystem
from imageserver.outputs.state_check import check_state
from imageserver.settings.source import load_settings
from imageserver.telemetry.logs import require_log_file
from imageserver.telemetry.tracing.requirement import check_tracing

_settings = load_settings()
# Here and not in a worker: gunicorn restarts a worker that exits, again and again.
require_entries(_settings)
startup.require_closed(_settings, [_settings.host])

bind = startup.address(_settings)
workers = _settings.workers
worker_class = "imageserver.api.wsgi.worker.BoundedWorker"
worker_connections = 1000
# The heartbeat of the worker's loop, not a request's limit: a generation may take longer.
timeout = 60
graceful_timeout = _settings.graceful_timeout
keepalive = 5
# The application reads what proxies say, of TRUSTED_PROXIES only; gunicorn would believe everybody on this machine.
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""
# Health polls count as requests, so no worker restarts after a number of them.
max_requests = 0
preload_app = False
control_socket_disable = True
accesslog = None
errorlog = "-"
loglevel = {"INFO": "warning"}.get(_settings.log_level, _settings.log_level.lower())
proc_name = "qwen-image-server"


def on_starting(server: Any) -> None:
    """Refuse a port in use, unusable state, secrets, styles or log file with one sentence; then say what starts.

    Otherwise gunicorn tries the port five times, and starts a worker that cannot read the database for ever.
    """
    if not os.environ.keys() & {"GUNICORN_FD", "LISTEN_FDS"}:  # an upgrade or systemd hands the socket over
        startup.require_free_port(_settings)
    require_cards(_settings)
    require_filesystem(_settings)
    # On the server and not in this module, which a reload (SIGHUP) executes again.
    server.secrets = AcceptedSecrets()
    with as_worker(server):
        entries = require_entries(_settings)
        RuntimeDir(server.pid).require(has_store=bool(_settings.output_url))
        require_styles(_settings)
        require_signing(_settings)
        for warning in (check_tracing(_settings), check_state(_settings.resolve(_settings.state_dir))):
            if warning:
                startup.say(warning)
        server.secrets.accept(_settings)
        require_log_file(_settings)
        AcceptedKeys(RuntimeDir(server.pid).keys_file(_settings.api_keys_file)).keep(entries)
    startup.warn_of_unknown_settings()
    server.reload = GuardedReload(server, _settings)
    server.own_node = OwnNode(_settings)
    with as_worker(server):
        server.own_node.start()
    startup.say(startup.greeting(_settings))


def when_ready(server: Any) -> None:
    """Refuse to serve on an open address that `--bind` or systemd chose, before the first worker starts."""
    startup.require_closed(_settings, listening_hosts(server))


def pre_exec(server: Any) -> None:
    """Let the next version (SIGUSR2) start as this one did, where that was `python -m gunicorn`.

    gunicorn starts it by the file of its module: Python then finds gunicorn's own folder `http` instead of its own.
    """
    server.own_node.refuse_successor()
    python, program, *arguments = server.START_CTX["args"]
    if Path(program).name == "__main__.py":
        server.START_CTX["args"] = [python, "-m", "gunicorn", *arguments]


def post_fork(server: Any, worker: Any) -> None:
    """Give a worker what was accepted, and let it end at once if it is told to before it has handlers.

    Until then it has those of gunicorn's main process, which only note the signal, in the memory of the worker: the
    server took GRACEFUL_TIMEOUT to end when it was stopped while a worker started.
    """
    qwen_image_server.accepted_settings, qwen_image_server.accepted_secrets = _settings, server.secrets
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def post_worker_init(worker: Any) -> None:
    """Notify the application of SIGTERM before gunicorn closes the listener."""
    stop = worker.handle_exit

    def drain(number: int, frame: FrameType | None) -> None:
        worker.wsgi.extensions["imageserver"].drain()
        stop(number, frame)

    signal.signal(signal.SIGTERM, drain)


def on_exit(server: Any) -> None:
    """End the dispatcher and its engines with the server, then its node of a cluster."""
    with as_worker(server):
        launch.stop(RuntimeDir(server.pid))
    server.own_node.stop()
