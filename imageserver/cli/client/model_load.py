"""A model that a running server downloads and loads, followed until it is there."""

from typing import Any

from imageserver.cli.client.connection import ServerConnection
from imageserver.cli.failure import CommandFailed
from imageserver.cli.terminal.progress import ProgressBar


def load_model(connection: ServerConnection, name: str) -> dict[str, Any]:
    """Load a model beside the default one, and return the job that did; raises CommandFailed.

    It goes on when this command ends.
    """
    begun = connection.ask("POST", "/v1/models/load", {"model": name, "default": False, "wait": False})
    path = f"/v1/jobs/{begun['job']}"
    with ProgressBar(unit="%") as bar:
        for job in connection.events(f"{path}/events"):
            bar.show(job["step"], job["total_steps"], f"loading {name}")
    job = connection.ask("GET", path)
    if job["state"] != "completed":
        raise CommandFailed(str(job["error"] or f"The job is {job['state']}."), str(job["code"]))
    return job
