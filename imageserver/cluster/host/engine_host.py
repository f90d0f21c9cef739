"""The seat on the far machine: a Ray actor with one engine process beside it. It ends with its lease.

Everything that it accepts and returns is bytes, text or whole numbers, because Ray pickles anything else.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator

from imageserver.cluster.compression import compress
from imageserver.cluster.host.call_order import CallOrder
from imageserver.cluster.host.far_engine import FarEngine
from imageserver.cluster.host.seat_folder import DeviceClaim, SeatFolder
from imageserver.cluster.parcels import Item, write_parcel
from imageserver.cluster.versions import versions

# The holder beats every second, gives up 5 s after the last beat that was answered, and does not come back.
LEASE_SECONDS = 5.5
CHECK_SECONDS = 0.25
MAX_PARCEL_BYTES = 8 * 1024 * 1024
# What a node that is about to end says instead of what it is.
DRAINING = "draining"


class EngineHost:
    """Runs one engine for the holder of one lease; calls under any other lease change nothing."""

    def __init__(self, lease: int) -> None:
        self._lease = lease
        self._seats = SeatFolder.of_this_node()
        self._outgoing: asyncio.Queue[Item] = asyncio.Queue()
        self._calls = CallOrder()
        self._claim: DeviceClaim | None = None
        self._engine: FarEngine | None = None
        self._beaten_at = 0.0
        self._guards: list[asyncio.Task[None]] = []

    async def describe(self) -> str:
        """Return the machine's address, the device and the versions as JSON; from now on the lease must be kept.

        A node that drains says DRAINING: the holder keeps this place, lest Ray offer it again, and asks for another.
        """
        from ray.util import get_node_ip_address

        if self._seats.is_draining:
            return DRAINING
        installed = versions()  # reads all code, in which time nothing else runs here
        self._claim = self._seats.claim()
        self._beaten_at = time.monotonic()
        self._guards = [asyncio.create_task(work) for work in (self._end_with_lease(), self._watch_drain())]
        machine = {"address": get_node_ip_address(), "device": self._claim.name, "versions": installed}
        return json.dumps(machine)

    async def start(self, lease: int, config: bytes) -> None:
        """Start the engine with the travelling part of its configuration."""
        if lease == self._lease and self._engine is None and self._claim is not None:
            self._engine = FarEngine(self._claim, self._outgoing.put_nowait)
            await self._engine.start(config)

    async def send(self, lease: int, number: int, frame: bytes) -> None:
        """Pass the frame with this number on, after all earlier ones."""
        if lease == self._lease and self._engine is not None:
            for due in self._calls.receive(number, frame):
                self._engine.send(due)

    async def beat(self, lease: int) -> None:
        """Keep the lease."""
        if lease == self._lease:
            self._beaten_at = time.monotonic()

    async def parcels(self) -> AsyncIterator[bytes]:
        """Yield what the engine has sent since the last time, several items at a time."""
        while True:
            items = [await self._outgoing.get()]
            size = len(items[0].content)
            while size < MAX_PARCEL_BYTES and not self._outgoing.empty():
                items.append(self._outgoing.get_nowait())
                size += len(items[-1].content)
            yield write_parcel(self._lease, map(compress, items))

    async def _end_with_lease(self) -> None:
        """End engine and seat: the holder is gone, or has given this seat up."""
        while time.monotonic() - self._beaten_at < LEASE_SECONDS:
            await asyncio.sleep(CHECK_SECONDS)
        if self._engine is not None:
            self._engine.kill()
        os._exit(1)

    async def _watch_drain(self) -> None:
        while not self._seats.is_draining:
            await asyncio.sleep(CHECK_SECONDS)
        if self._engine is None:
            os._exit(1)  # the machine was refused, and its holder would keep it for ever
        self._outgoing.put_nowait(Item("drain", b""))
