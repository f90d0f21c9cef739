"""Tasks that run beside everything else: none ends with an error that nobody sees."""

import asyncio
import logging
from collections.abc import Coroutine

logger = logging.getLogger(__name__)


class Tasks:
    """Knows the tasks that still run."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Run something from now on, until it ends or `stop`."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._end)

    async def stop(self) -> None:
        """Cancel all, and wait for their ends."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            name = getattr(task.get_coro(), "__qualname__", "A task")
            logger.error("%s has ended with an error; the server goes on without it.", name, exc_info=error)
