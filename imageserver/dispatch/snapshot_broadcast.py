"""Who is told the state of the service, and when: at once where it is another, else soon."""

import asyncio
import time
from collections.abc import Callable

from imageserver.dispatch.jobs import Listener
from imageserver.protocol.messages import Snapshot

# Seconds between two snapshots of the same state; every step of every job changes something.
INTERVAL_SECONDS = 0.05


class SnapshotBroadcast:
    """The workers, and what they were told last."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        """Take what describes the service at the moment."""
        self._snapshot = snapshot
        self._workers: set[Listener] = set()
        self._told = ""
        self._due = False
        self._last = 0.0

    def join(self, worker: Listener) -> None:
        """Tell `worker` the state now and from now on."""
        self._workers.add(worker)
        worker.send(self._snapshot())

    def leave(self, worker: Listener) -> None:
        """Tell `worker` nothing more."""
        self._workers.discard(worker)

    def tell(self) -> None:
        """Tell everybody now."""
        self._due, self._last = False, time.monotonic()
        snapshot = self._snapshot()
        for worker in self._workers:
            worker.send(snapshot)

    def change(self, state: str) -> None:
        """Tell everybody: at once when the engine's state is another, for no image may come before its facts."""
        if state != self._told:
            self._told = state
            self.tell()
        elif not self._due:
            self._due = True
            pause = max(0.0, self._last + INTERVAL_SECONDS - time.monotonic())
            asyncio.get_running_loop().call_later(pause, self.tell)
