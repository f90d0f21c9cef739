"""The images of tasks that have not ended, each in a file of the state folder: too large for the state database."""

import contextlib
import logging
import time
from pathlib import Path

from imageserver.api.services import Services
from imageserver.atomic_write import write_atomically
from imageserver.errors import StorageFull

logger = logging.getLogger(__name__)

FOLDER = "task_sources"
# The images are written before their task is stored.
MAX_UNKNOWN_SECONDS = 3600.0


def write(service: Services, task_id: str, content: bytes) -> None:
    """Keep the images of a task, if it has any; raises StorageFull."""
    if content:
        service.thread_pool.run(_write, _file(service, task_id), content)


def read(service: Services, task_id: str) -> bytes:
    """Return the images of a task, or nothing."""
    file = _file(service, task_id)
    return service.thread_pool.run(file.read_bytes) if file.exists() else b""


def remove(service: Services, task_id: str) -> None:
    """Remove the images of a task that was not accepted; what cannot be removed now is at a later start."""
    with contextlib.suppress(OSError):
        _file(service, task_id).unlink(missing_ok=True)


def remove_ended(service: Services, task_id: str) -> None:
    """Remove the images of a task unless it is to be generated again; one in doubt keeps them until the next start."""
    file = _file(service, task_id)
    if not file.exists():
        return
    try:
        task = service.tasks.find(task_id, "")
        is_old = file.stat().st_mtime < time.time() - MAX_UNKNOWN_SECONDS
        if task.completed_at is not None if task else is_old:
            file.unlink(missing_ok=True)
    except (OSError, StorageFull) as error:
        logger.warning("The images of task %s stay in the state folder: %s", task_id, error)


def remove_abandoned(service: Services) -> None:
    """Remove the images of tasks that have ended or were never accepted."""
    for file in _file(service, "").glob("*"):
        remove_ended(service, file.name)


def _file(service: Services, task_id: str) -> Path:
    folder: Path = service.settings.resolve(service.settings.state_dir) / FOLDER
    return folder / task_id


def _write(file: Path, content: bytes) -> None:
    try:
        write_atomically(file, content, private=True)
    except OSError as error:
        raise StorageFull(f"The images of the task cannot be stored: {error.strerror}.") from error
