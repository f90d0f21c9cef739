"""A generation as a task of the server: it goes on when the connection breaks, and is found again under its id."""

import contextlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from imageserver.cli.client.connection import NoAnswer, ServerConnection
from imageserver.cli.client.readiness import wait_until_loaded
from imageserver.cli.failure import CommandFailed
from imageserver.cli.terminal.progress import ProgressBar

P = ParamSpec("P")
T = TypeVar("T")

# How long a server that has answered may be gone: it may be restarted meanwhile, and goes on with its tasks.
PATIENCE_SECONDS = 120.0
# Between the end of its job and that of the task, the images are saved.
POLL_SECONDS, MAX_POLL_SECONDS = 0.05, 2.0


@dataclass(frozen=True)
class GeneratedImages:
    """What a task has generated; `job` is empty where the server has forgotten it."""

    files: list[bytes]
    status: dict[str, Any]
    job: dict[str, Any]


class GenerationTask:
    """One task of a server, from its start to its images."""

    def __init__(self, connection: ServerConnection, body: dict[str, Any]) -> None:
        self._connection = connection
        self._body = body
        self._path = f"/v1/tasks/{uuid.uuid4()}"

    def result(self, bar: ProgressBar) -> GeneratedImages:
        """Generate, show the progress and return the images; raises CommandFailed, and cancels at Ctrl+C."""
        wait_until_loaded(self._connection, bar)
        try:
            # The same task when it is asked for twice: it has an id.
            status = _patiently(self._connection.ask, "PUT", self._path, self._body)
            status = self._ended(status, bar)
        except KeyboardInterrupt:
            self.cancel()
            raise
        if status["status"] != "completed":
            raise CommandFailed(str(status["error"]), str(status["code"]))
        files = [_patiently(self._connection.download, url) for url in status["result_urls"]]
        return GeneratedImages(files, status, self._job(status["requestId"]))

    def cancel(self) -> None:
        """Cancel the task, if the server still answers."""
        try:
            self._connection.ask("DELETE", self._path)
        except CommandFailed:
            return

    def _ended(self, status: dict[str, Any], bar: ProgressBar) -> dict[str, Any]:
        """Return the status of the task once it has ended; asks again where the connection breaks."""
        pause = POLL_SECONDS
        while status["completed_at"] is None:
            with contextlib.suppress(NoAnswer):
                self._follow(status["requestId"], bar)
            time.sleep(pause)
            pause = min(2 * pause, MAX_POLL_SECONDS)
            status = _patiently(self._connection.ask, "GET", self._path)
        return status

    def _job(self, number: int) -> dict[str, Any]:
        """Return what the server knows of the job; a restart has forgotten it, which loses no image."""
        try:
            return self._connection.ask("GET", f"/v1/jobs/{number}")
        except CommandFailed:
            return {}

    def _follow(self, number: int, bar: ProgressBar) -> None:
        """Show the steps of a job until it has ended; a task that waits for its model has no job yet."""
        try:
            for job in self._connection.events(f"/v1/jobs/{number}/events"):
                bar.show(job.get("step", 0), job.get("total_steps", 0), _doing(job))
        except NoAnswer:
            raise
        except CommandFailed as failed:
            if failed.code != "not_found":
                raise


def _patiently(ask: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Return what `ask` returns; a server that has answered before may be gone for a while."""
    began, pause = time.monotonic(), POLL_SECONDS
    while True:
        try:
            return ask(*arguments, **options)
        except NoAnswer:
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise
        time.sleep(pause)
        pause = min(2 * pause, MAX_POLL_SECONDS)


def _doing(job: dict[str, Any]) -> str:
    if job.get("state") != "queued":
        return "generating"
    return f"{position} before it" if (position := job.get("queue_position")) else "waiting"
