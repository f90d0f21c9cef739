"""One framed connection inside the dispatcher's event loop."""

import asyncio
from collections.abc import AsyncIterator

from imageserver.protocol.framing import MAX_HEADER_BYTES, Frame, pack, read_frame
from imageserver.protocol.messages import Message

# Images are a few megabytes; with the default of 64 KiB the loop would wake a hundred times for each.
READ_LIMIT_BYTES = 4 * 1024 * 1024


class Peer:
    """An HTTP worker or an engine, as the dispatcher sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, message: Message, raw: bytes = b"") -> None:
        """Send one frame; the reader notices a peer that is gone, so nothing is raised here."""
        if not self._writer.is_closing():
            self._writer.write(pack(message, len(raw)))
            if raw:
                self._writer.write(raw)

    async def receive(self, max_header_bytes: int = MAX_HEADER_BYTES) -> Frame:
        """Return the next message and its raw bytes; raises EOFError if the peer is gone or breaks the protocol."""
        parser = read_frame(max_header_bytes)
        size = next(parser)
        while True:
            try:
                size = parser.send(await self._reader.readexactly(size))
            except StopIteration as end:
                frame: Frame = end.value
                return frame
            except OSError as error:  # asyncio.IncompleteReadError is an EOFError already
                raise EOFError(str(error)) from error

    async def __aiter__(self) -> AsyncIterator[Frame]:
        while True:
            try:
                yield await self.receive()
            except EOFError:
                return

    def close(self) -> None:
        self._writer.close()
