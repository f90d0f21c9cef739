"""Sends the workers the state of the service: at once where it is another, else soon, and every second."""

import asyncio
from collections.abc import Callable

from imageserver.dispatch.jobs import Listener
from imageserver.dispatch.silence import HEARTBEAT_SECONDS
from imageserver.protocol.messages import Snapshot

# Seconds between two snapshots of the same state; every step of every job changes something.
INTERVAL_SECONDS = 0.05


class SnapshotBroadcast:
    """Knows the workers and the last snapshot sent to them."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        """Broadcast the state that `snapshot` returns."""
        self._snapshot = snapshot
        self._workers: set[Listener] = set()
        self._sent_states: tuple[str, ...] = ()
        self._is_due = False
        self._sent_at = float("-inf")

    def join(self, worker: Listener) -> None:
        """Send `worker` the state now and from now on."""
        self._workers.add(worker)
        worker.send(self._snapshot())

    def leave(self, worker: Listener) -> None:
        self._workers.discard(worker)

    async def beat(self) -> None:
        """Send snapshots for ever, for the workers to see that this loop runs."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            self.send()

    def send(self) -> None:
        self._is_due, self._sent_at = False, asyncio.get_running_loop().time()
        snapshot = self._snapshot()
        for worker in self._workers:
            worker.send(snapshot)

    def change(self, states: tuple[str, ...]) -> None:
        """Send a snapshot: at once when an engine's state is another, for no image may precede its model's info."""
        if states != self._sent_states:
            self._sent_states = states
            self.send()
        elif not self._is_due:
            self._is_due = True
            loop = asyncio.get_running_loop()
            loop.call_at(max(loop.time(), self._sent_at + INTERVAL_SECONDS), self.send)
