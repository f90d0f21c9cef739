"""The header of a safetensors file: which tensors it describes, and how long the whole file must be.

Source: the format's README, huggingface/safetensors. A header comes from the web: whatever is in it, only
DamagedHeader is raised.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec

# Of the format itself.
LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
METADATA = "__metadata__"

Size = Annotated[int, msgspec.Meta(ge=0)]


class Tensor(msgspec.Struct, frozen=True):
    """Where a tensor's bytes are, counted from the end of the header; other fields are ignored."""

    shape: tuple[Size, ...]
    data_offsets: tuple[Size, Size]


@dataclass(frozen=True)
class SafetensorsHeader:
    """The tensors of a file by name, and what it says of itself."""

    length: int
    tensors: dict[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def file_bytes(self) -> int:
        """The size of a whole file with this header."""
        return LENGTH_BYTES + self.length + max((each.data_offsets[1] for each in self.tensors.values()), default=0)


class DamagedHeader(Exception):
    """The file does not begin with a header."""


def read_header(file: Path) -> SafetensorsHeader:
    """Return the header of a file; raises DamagedHeader, or OSError."""
    with file.open("rb") as content:
        length = int.from_bytes(content.read(LENGTH_BYTES), "little")
        text = content.read(min(length, MAX_HEADER_BYTES))
    try:
        raw = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        tensors = {name: msgspec.json.decode(each, type=Tensor) for name, each in raw.items() if name != METADATA}
        metadata = msgspec.json.decode(raw.get(METADATA, b"{}"), type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedHeader(f"{file.name} has no readable header.") from error
    return SafetensorsHeader(length, tensors, metadata)
