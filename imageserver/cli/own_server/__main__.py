"""The process of a server for one command: it says its port on stdout, and serves until its stdin is closed."""

import gevent.monkey

gevent.monkey.patch_all()

import os  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent.os  # noqa: E402
from pydantic import SecretStr  # noqa: E402

from imageserver.api.request_context import EXTENSION  # noqa: E402
from imageserver.app import create_app  # noqa: E402
from imageserver.cli.gevent_server import GeventServer, RequestHandler  # noqa: E402
from imageserver.cli.own_server.command_folder import CommandFolder  # noqa: E402
from imageserver.dispatch.client import launch  # noqa: E402
from imageserver.dispatch.client.runtime_dir import RuntimeDir  # noqa: E402
from imageserver.settings import Settings  # noqa: E402
from imageserver.settings.source import load_settings  # noqa: E402

HOST = "127.0.0.1"


def main() -> None:
    """Serve for the process that has written a key to stdin."""
    key = sys.stdin.readline().strip()
    with CommandFolder() as folder:
        _serve(_private(load_settings(), folder, key))


def _serve(settings: Settings) -> None:
    runtime_dir = RuntimeDir(os.getpid())
    # The banner is for a server that stays.
    runtime_dir.is_first_to_announce()
    app = create_app(settings, owner=os.getpid())
    services = app.extensions[EXTENSION]
    server = GeventServer(services.connections, (HOST, 0), app, handler_class=RequestHandler, log=None)
    server.start()
    try:
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        # The pipe is also closed when the command is killed.
        while gevent.os.tp_read(sys.stdin.fileno(), 1):
            pass
    finally:
        server.close()
        services.client.close()
        launch.stop(runtime_dir)


def _private(settings: Settings, folder: Path, key: str) -> Settings:
    """Return the settings of a server that only the bearer of a key uses, and that leaves nothing behind."""
    return settings.model_copy(
        update={
            "host": HOST, "state_dir": folder / "state", "output_dir": folder / "images", "output_url": "",
            "api_keys": SecretStr(f"generate:{key}"), "api_keys_file": None, "hf_auth": "off", "webhook_secret": None,
            "rate_limit_rpm": 0, "quota_seconds_per_hour": 0.0, "quota_seconds_per_day": 0.0,
            "public_url": "", "cache_max_mb": 0.0, "idle_unload": 0.0,
        }
    )  # fmt: skip


if __name__ == "__main__":
    main()
