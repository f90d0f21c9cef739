"""The stand-in's connection to its dispatcher, which takes it for an engine."""

import asyncio
import contextlib
import os

from imageserver.cluster.whole_frames import READ_LIMIT_BYTES, read_whole_frame
from imageserver.protocol.channel import Address
from imageserver.protocol.framing import pack
from imageserver.protocol.messages import Hello, LoadProgress


class DispatcherLink:
    """Sends the far engine's frames, and messages of the stand-in's own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> bytes:
        """Return the next frame; raises EOFError or OSError when the dispatcher is gone."""
        return await read_whole_frame(self._reader)

    def send(self, frame: bytes | memoryview) -> None:
        self._writer.write(frame)

    def report(self, phase: str, sentence: str) -> None:
        """Say how far the engine is, before it can say so itself."""
        self._writer.write(pack(LoadProgress(phase=phase, sentence=sentence)))

    async def close(self) -> None:
        """Close the connection once everything is sent."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def connect(address: Address) -> DispatcherLink:
    """Open a connection and say Hello; raises OSError."""
    if address.path is not None:
        reader, writer = await asyncio.open_unix_connection(address.path, limit=READ_LIMIT_BYTES)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port, limit=READ_LIMIT_BYTES)
    writer.write(pack(Hello(role="engine", key=address.key, pid=os.getpid())))
    return DispatcherLink(reader, writer)
