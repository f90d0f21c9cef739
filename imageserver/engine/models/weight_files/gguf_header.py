"""Whether a GGUF file is whole, from its header, before the gguf package reads it.

That package believes every length: it collects as many empty values as an array claims to have, until the memory is
full. Source: ggml's `docs/gguf.md`.
"""

import math
from pathlib import Path
from struct import Struct
from typing import BinaryIO

MAGIC = b"GGUF"
VERSIONS = (2, 3)
START, UINT32, UINT64, TENSOR_END = Struct("<IQQ"), Struct("<I"), Struct("<Q"), Struct("<IQ")
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
TEXT, ARRAY = 8, 9
ALIGNMENT_KEY, ALIGNMENT = b"general.alignment", 32
# A text encoder's vocabulary has 150,000. The package takes 3 µs for each.
MAX_VALUES = 1_000_000
MAX_DIMENSIONS = 8
MAX_TEXT_BYTES = 100_000_000


class _Damaged(Exception):
    """The text completes a sentence that begins with the file's name."""

    def __init__(self, text: str = "has no readable header") -> None:
        super().__init__(text)


class _Header:
    """Walks over a file, and never reads or skips beyond its end."""

    def __init__(self, content: BinaryIO, size: int) -> None:
        self._content = content
        self._left = size
        self.position = 0
        self._values = MAX_VALUES

    def read(self, count: int) -> bytes:
        self._advance(count)
        return self._content.read(count)

    def skip(self, count: int) -> None:
        self._advance(count)
        self._content.seek(count, 1)

    def number(self, layout: Struct = UINT64) -> int:
        (value,) = layout.unpack(self.read(layout.size))
        return int(value)

    def text(self) -> bytes:
        length = self.number()
        if length > MAX_TEXT_BYTES:
            raise _Damaged
        return self.read(length)

    def count_values(self, count: int) -> None:
        self._values -= count
        if self._values < 0:
            raise _Damaged

    def _advance(self, count: int) -> None:
        if count > self._left:
            raise _Damaged
        self._left -= count
        self.position += count


def complaint(file: Path) -> str | None:
    """Return what is wrong with a file, None where its header is readable and its tensors are inside; raises OSError.

    A file that is too short says how many bytes it should have.
    """
    size = file.stat().st_size
    with file.open("rb") as content:
        try:
            expected = _file_bytes(_Header(content, size))
        except _Damaged as error:
            return str(error)
    return None if size >= expected else f"has {size} of {expected} bytes"


def _file_bytes(header: _Header) -> int:
    """Return where the last tensor ends."""
    if header.read(len(MAGIC)) != MAGIC:
        raise _Damaged("is not a GGUF file")
    version, tensors, pairs = START.unpack(header.read(START.size))
    if version not in VERSIONS:
        raise _Damaged
    header.count_values(tensors + pairs)
    alignment = ALIGNMENT
    for _ in range(pairs):
        key, kind = header.text(), header.number(UINT32)
        if key == ALIGNMENT_KEY:
            alignment = header.number(UINT32)
        else:
            _skip_value(header, kind)
    if alignment == 0 or alignment & (alignment - 1):
        raise _Damaged
    end = max([_tensor_end(header) for _ in range(tensors)], default=0)
    return -(-header.position // alignment) * alignment + end


def _skip_value(header: _Header, kind: int) -> None:
    if kind == ARRAY:
        kind, count = header.number(UINT32), header.number()
        header.count_values(count)
        if kind in SCALAR_BYTES:
            header.skip(count * SCALAR_BYTES[kind])
            return
    else:
        count = 1
    if kind in SCALAR_BYTES:
        header.skip(SCALAR_BYTES[kind])
    elif kind == TEXT:
        for _ in range(count):
            header.text()
    else:  # arrays in arrays, which no writer makes
        raise _Damaged


def _tensor_end(header: _Header) -> int:
    """Return where a tensor ends, counted from the first one."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType  # 0.2 s, for those who use such a file

    header.text()
    dimensions = header.number(UINT32)
    if dimensions > MAX_DIMENSIONS:
        raise _Damaged
    elements = math.prod(header.number() for _ in range(dimensions))
    kind, offset = TENSOR_END.unpack(header.read(TENSOR_END.size))
    try:
        block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (ValueError, KeyError):
        raise _Damaged from None
    return int(offset) + elements // block * block_bytes
