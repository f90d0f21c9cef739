"""What a worker asks its store process, and what that answers: one question for each connection, with its key."""

from collections.abc import Callable
from typing import Any

import msgspec

from imageserver.protocol.messages import Message

# Larger images are read in several parts.
PART_BYTES = 4 * 2**20


class Save(Message, frozen=True, kw_only=True):
    """Keep the bytes that follow; answered by Saved or Refused."""

    key: str
    stem: str
    extension: str
    size: int

    @property
    def max_raw_bytes(self) -> int:
        return self.size


class Read(Message, frozen=True, kw_only=True):
    """Read an image from a position on; answered by Part or Refused.

    Where the store signs an address and that will do, Part has no bytes.
    """

    key: str
    name: str
    start: int = 0
    address_will_do: bool = False


class Delete(Message, frozen=True, kw_only=True):
    """Delete an image, if it is there; answered by Maintained or Refused."""

    key: str
    name: str


class Maintain(Message, frozen=True, kw_only=True):
    """Say what keeps images from the store; answered by Maintained."""

    key: str


class Saved(Message, frozen=True, kw_only=True):
    """The name that an image was given, and what keeps it from the store."""

    name: str
    obstacle: str


class Part(Message, frozen=True, kw_only=True):
    """Bytes of an image, its size as a whole, and the store's own address of it."""

    size: int
    address: str

    @property
    def max_raw_bytes(self) -> int:
        return PART_BYTES


class Maintained(Message, frozen=True, kw_only=True):
    """What keeps images from the store; empty if nothing does."""

    obstacle: str


class Refused(Message, frozen=True, kw_only=True):
    """A failure, by the code of its ServiceError."""

    code: str
    sentence: str
    retry_after: float | None


Question = Save | Read | Delete | Maintain
Answer = Saved | Part | Maintained | Refused
decode_question: Callable[[bytes], Any] = msgspec.msgpack.Decoder(Question).decode
decode_answer: Callable[[bytes], Any] = msgspec.msgpack.Decoder(Answer).decode
