"""The near side of one seat: it creates the far actor, sends calls by number, keeps the lease, reads parcels."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import ray

from imageserver.cluster.compression import decompress
from imageserver.cluster.host.engine_host import DRAINING, EngineHost
from imageserver.cluster.nodes.membership import RESOURCE
from imageserver.cluster.parcels import Item, read_parcel

BEAT_SECONDS = 1.0
# Since the last beat that was answered was sent. The far side counts from when it came, and waits longer: it never ends
# an engine that this side still holds, however long calls and answers travel.
LOST_SECONDS = 5.0


@dataclass(frozen=True)
class FarMachine:
    """Where a seat is: the machine's address in the cluster, the device, and what is installed there."""

    address: str
    device: str
    versions: dict[str, str]

    @property
    def label(self) -> str:
        """What logs and metrics call it."""
        return f"{self.address} {self.device}"


class SeatLost(Exception):
    """The machine, its actor or the way there is gone; it says which in a sentence."""


class MachineLeaves(Exception):
    """The machine has no room for an engine any more, because its node is about to end."""


class FarSeat:
    """One actor under one lease, for as long as the cluster has it."""

    def __init__(self, lease: int) -> None:
        # Ray restarts nothing: the dispatcher's supervisor does.
        remote: Any = ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0, resources={RESOURCE: 1})
        self._lease = lease
        self._number = 0
        self._host: Any = remote(EngineHost).remote(lease)

    async def describe(self) -> FarMachine:
        """Return where the seat is, as soon as a machine has room for it; raises SeatLost, and MachineLeaves."""
        try:
            answer = await self._host.describe.remote()
        except ray.exceptions.RayError as error:
            raise SeatLost(f"No engine could be placed: {_in_one_line(error)}") from error
        if answer == DRAINING:
            raise MachineLeaves
        return FarMachine(**json.loads(answer))

    async def start(self, config: bytes) -> None:
        """Start the engine; raises SeatLost."""
        try:
            await self._host.start.remote(self._lease, config)
        except ray.exceptions.RayError as error:
            raise SeatLost(f"The engine could not be started there: {_in_one_line(error)}") from error

    def send(self, frame: bytes) -> None:
        """Send a frame; one that cannot arrive is lost with the seat."""
        self._host.send.remote(self._lease, self._number, frame)
        self._number += 1

    async def items(self) -> AsyncIterator[Item]:
        """Yield what the engine sends, writes and how it ends, until the seat is lost; raises SeatLost."""
        try:
            async for reference in self._host.parcels.options(num_returns="streaming").remote():
                for item in read_parcel(await reference, self._lease):
                    yield decompress(item)
        except ray.exceptions.RayError as error:
            raise SeatLost(f"Its machine or its actor is gone ({type(error).__name__}).") from error

    async def keep(self) -> None:
        """Keep the lease until the seat is lost; raises SeatLost."""
        clock = asyncio.get_running_loop().time
        answered, sent = clock(), dict[asyncio.Task[None], float]()
        while clock() - answered < LOST_SECONDS:
            # Not one after the other: an answer that takes long delays no later beat.
            sent[asyncio.create_task(self._beat())] = clock()
            await asyncio.sleep(BEAT_SECONDS)
            for beat in [beat for beat in sent if beat.done()]:
                beat.result()
                answered = max(answered, sent.pop(beat))
        raise SeatLost(f"Its machine has not answered for {LOST_SECONDS:g} s.")

    async def _beat(self) -> None:
        try:
            await self._host.beat.remote(self._lease)
        except ray.exceptions.RayError as error:
            raise SeatLost(f"Its machine or its actor is gone ({type(error).__name__}).") from error


def is_offered() -> bool:
    """Return whether a machine has an engine to offer; unlike an actor that is pending, this starts no machine."""
    return bool(ray.available_resources().get(RESOURCE, 0) >= 1)


def addresses() -> set[str]:
    """Return the addresses of the machines that are there now."""
    return {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}


def _in_one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
