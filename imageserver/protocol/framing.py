"""Frames, as both ends of every connection write and read them.

A frame is two big-endian 32-bit lengths, a msgpack header and raw bytes for pixels. Nothing is pickled.
"""

import struct
from collections.abc import Callable, Generator
from typing import Any

import msgspec

from imageserver.protocol.messages import AnyMessage, Message

LENGTHS = struct.Struct(">II")
MAX_HEADER_BYTES = 16 * 1024 * 1024
# Of the first message, with which a peer shows its key.
MAX_HELLO_BYTES = 4096

_encoder = msgspec.msgpack.Encoder()
decode_message: Callable[[bytes], AnyMessage] = msgspec.msgpack.Decoder(AnyMessage).decode

Frame = tuple[AnyMessage, bytes]


def pack(message: Message, raw_size: int = 0) -> bytes:
    """Return the lengths and header of a frame whose raw part has `raw_size` bytes."""
    header = _encoder.encode(message)
    return LENGTHS.pack(len(header), raw_size) + header


def message_of(frame: bytes) -> AnyMessage:
    """Return the message of a whole frame that our own side has packed."""
    header_size, _ = LENGTHS.unpack_from(frame)
    return decode_message(frame[LENGTHS.size : LENGTHS.size + header_size])


def read_frame(
    max_header_bytes: int = MAX_HEADER_BYTES, decode: Callable[[bytes], Any] = decode_message
) -> Generator[int, bytes, Frame]:
    """Parse one frame: yield how many bytes to read next, be sent exactly those, return the message and its raw bytes.

    It does no reading of its own, so that a socket and an event loop share it. Connections with messages of their own
    `decode` them. Raises EOFError if the peer breaks the protocol: no later frame could be parsed either.
    """
    header_size, raw_size = LENGTHS.unpack((yield LENGTHS.size))
    if header_size > max_header_bytes:
        raise EOFError(f"A header of {header_size} bytes is not one of our messages.")
    header = yield header_size
    try:
        message = decode(header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EOFError(f"The header is not one of our messages: {error}") from error
    if raw_size > message.max_raw_bytes:
        raise EOFError(f"A {type(message).__name__} does not have {raw_size} raw bytes.")
    return message, (yield raw_size)
