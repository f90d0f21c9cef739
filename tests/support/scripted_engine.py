"""An engine's process and its connection, as the supervision sees them, inside a loop of virtual time."""

import asyncio
from collections.abc import AsyncIterator
from unittest.mock import Mock

from imageserver.dispatch.seats.configuration.seat_config import SeatConfig
from imageserver.protocol.channel import Address
from imageserver.protocol.framing import Frame
from imageserver.protocol.messages import AnyMessage, Ping, Pong

ADDRESS = Address(path=None, port=1, key="")
CONFIG = SeatConfig("card", "cpu", "scripted")
NO_PID = 2**31 - 1  # of a process that nobody can measure


class ScriptedProcess:
    """A process that lives until it is killed."""

    def __init__(self) -> None:
        self.pid, self.stdin, self.returncode = NO_PID, Mock(), None
        self.killed = asyncio.Event()
        self.kill = self.terminate = self.killed.set

    async def wait(self) -> int:
        await self.killed.wait()
        self.returncode = -9
        return self.returncode


class ScriptedPeer:
    """The connection of an engine that sends these messages, and then answers pings until it `is_deaf`."""

    def __init__(self, *messages: AnyMessage) -> None:
        self._outbox: asyncio.Queue[AnyMessage | None] = asyncio.Queue()
        for message in messages:
            self.answer(message)
        self.is_deaf = False
        self.received: list[AnyMessage] = []

    def answer(self, message: AnyMessage) -> None:
        self._outbox.put_nowait(message)

    def send(self, message: AnyMessage, raw: bytes = b"") -> None:
        if not isinstance(message, Ping):
            self.received.append(message)
        elif not self.is_deaf:
            self.answer(Pong())

    def close(self) -> None:
        self._outbox.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Frame]:
        while (message := await self._outbox.get()) is not None:
            yield message, b""
