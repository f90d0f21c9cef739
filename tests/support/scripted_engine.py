"""An engine's process and its connection, as the supervision sees them, inside a loop of virtual time."""

import asyncio
from collections.abc import AsyncIterator
from unittest.mock import Mock

from imageserver.protocol.channel import Address
from imageserver.protocol.framing import Frame
from imageserver.protocol.messages import AnyMessage

ADDRESS = Address(path=None, port=1, key="")


class ScriptedProcess:
    """A process that lives until it is killed."""

    def __init__(self) -> None:
        self.pid, self.stdin, self.returncode = 1, Mock(), None
        self.killed = asyncio.Event()
        self.kill = self.terminate = self.killed.set

    async def wait(self) -> int:
        await self.killed.wait()
        self.returncode = -9
        return self.returncode


class ScriptedPeer:
    """The connection of an engine that sends these messages and then nothing more."""

    def __init__(self, *messages: AnyMessage) -> None:
        self._messages = messages
        self._closed = asyncio.Event()
        self.close = self._closed.set
        self.send = Mock()

    async def __aiter__(self) -> AsyncIterator[Frame]:
        for message in self._messages:
            yield message, b""
        await self._closed.wait()
