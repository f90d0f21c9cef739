"""One framed connection inside the dispatcher's event loop."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from imageserver.protocol.messages import LENGTHS, MAX_HEADER, AnyMessage, Message, pack, unpack

# Images are a few megabytes; with the default of 64 KiB the loop would wake a hundred times for each.
READ_LIMIT = 4 * 1024 * 1024


class Peer:
    """An HTTP worker or an engine, as the dispatcher sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, message: Message, raw: bytes = b"") -> None:
        """Send one frame; a peer that is gone is noticed by the reader, so nothing is raised here."""
        if not self._writer.is_closing():
            self._writer.write(pack(message, len(raw)))
            if raw:
                self._writer.write(raw)

    async def receive(self) -> tuple[AnyMessage, bytes]:
        """Return the next frame; raises EOFError when the peer hung up or speaks something else."""
        try:
            header_size, raw_size = LENGTHS.unpack(await self._reader.readexactly(LENGTHS.size))
            if header_size > MAX_HEADER:
                raise EOFError(f"A header of {header_size} bytes is no message of ours.")
            header = await self._reader.readexactly(header_size)
            raw = await self._reader.readexactly(raw_size) if raw_size else b""
            return unpack(header), raw
        except (OSError, asyncio.IncompleteReadError, msgspec.DecodeError) as error:
            raise EOFError(str(error)) from error

    async def __aiter__(self) -> AsyncIterator[tuple[AnyMessage, bytes]]:
        while True:
            try:
                yield await self.receive()
            except EOFError:
                return

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
