"""What a far seat sends: frames, lines of its log, that it takes no more jobs, that its engine has ended.

Several items travel as one parcel of bytes, because Ray pickles every object that it does not know.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["frame", "compressed", "log", "drain", "end"]

LEASE = struct.Struct(">Q")
ITEM = struct.Struct(">BI")
KINDS: tuple[Kind, ...] = ("frame", "compressed", "log", "drain", "end")


@dataclass(frozen=True)
class Item:
    """One thing of a parcel: a whole frame, a line of the log, a request for no new jobs, or how the engine ended."""

    kind: Kind
    content: bytes | memoryview


def write_parcel(lease: int, items: Iterable[Item]) -> bytes:
    """Return the items as bytes."""
    parts: list[bytes | memoryview] = [LEASE.pack(lease)]
    for item in items:
        parts += (ITEM.pack(KINDS.index(item.kind), len(item.content)), item.content)
    return b"".join(parts)


def read_parcel(parcel: bytes, lease: int) -> Iterator[Item]:
    """Yield the items; those of another lease are late and dropped."""
    [sender] = LEASE.unpack_from(parcel)
    position, view = LEASE.size, memoryview(parcel)
    while sender == lease and position < len(parcel):
        kind, size = ITEM.unpack_from(parcel, position)
        position += ITEM.size
        yield Item(KINDS[kind], view[position : position + size])
        position += size
