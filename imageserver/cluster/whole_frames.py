"""Frames that are passed on unread: only their lengths are parsed, and a Hello that opens a connection."""

import asyncio

from imageserver.protocol.framing import LENGTHS, MAX_HEADER_BYTES, MAX_HELLO_BYTES, Frame, read_frame
from imageserver.protocol.messages import Hello

# As in the dispatcher: with the default of 64 KiB the loop would wake a hundred times for each image.
READ_LIMIT_BYTES = 4 * 1024 * 1024


async def read_whole_frame(reader: asyncio.StreamReader) -> bytes:
    """Return one frame, lengths included; raises EOFError or OSError when the peer is gone or breaks the protocol."""
    lengths = await reader.readexactly(LENGTHS.size)
    header_size, raw_size = LENGTHS.unpack(lengths)
    if header_size > MAX_HEADER_BYTES:
        raise EOFError(f"A header of {header_size} bytes is not one of our messages.")
    content = await reader.readexactly(header_size + raw_size)
    return bytes(lengths + content)


async def read_hello(reader: asyncio.StreamReader) -> Hello:
    """Return the message that opens a connection; raises EOFError for any other one."""
    parser = read_frame(MAX_HELLO_BYTES)
    size = next(parser)
    while True:
        try:
            size = parser.send(await reader.readexactly(size))
        except StopIteration as end:
            frame: Frame = end.value
            if not isinstance(frame[0], Hello):
                raise EOFError("The peer did not say who it is.") from None
            return frame[0]
