"""Waits until a server has a model: a task would wait for one for ever, as long as the server tries to load it."""

import time

from imageserver.cli.client.connection import ServerConnection
from imageserver.cli.failure import CommandFailed
from imageserver.cli.terminal.progress import ProgressBar

POLL_SECONDS = 0.2


def wait_until_loaded(connection: ServerConnection, bar: ProgressBar) -> None:
    """Return once a first model is loaded; raises CommandFailed with the server's reason where that has failed."""
    while not (health := connection.ask("GET", "/health"))["pipeline_ready"]:
        if health["status"] == "degraded":
            raise CommandFailed(str(health["reason"]), "model_unavailable")
        bar.show(round(100 * (health["load_fraction"] or 0)), 100, "loading the model")
        time.sleep(POLL_SECONDS)
