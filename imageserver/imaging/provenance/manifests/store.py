"""The manifest store of a file, found and bounded before c2pa reads any of it.

A compressed manifest of 2 KB may hold megabytes, and c2pa takes many bytes of memory for each of them.

Sources: the C2PA specification 2.2, appendix A.3 (embedding manifests into PNG, JPEG and WebP), and the Brotli boxes
("brob") of its compressed manifests.
"""

from collections.abc import Iterable, Iterator
from struct import unpack_from
from typing import Literal

from imageserver.imaging.provenance.manifests.embedding import APP11, media_type_of

MAX_STORE_BYTES = 2**20
# Of c2pa and its report at their peak: 145 were measured for arrays of numbers, 301 for arrays of arrays.
MEMORY_PER_BYTE = 300
# Few have more; the file behind them is searched as a whole.
MAX_BLOCKS = 10_000
COMPRESSED_BOX = b"brob"

# The segments that precede a JPEG's pixels and have a length: of applications, comments, tables and the frame.
JPEG_SEGMENTS = {*range(0xE0, 0xF0), 0xFE, 0xDB, 0xDD, *range(0xC0, 0xD0)}
START_OF_SCAN = 0xDA

Problem = Literal["too_large", "compressed", "unreadable"]


class StoreRefused(Exception):
    """A file whose manifests are not read: too large or compressed, or there is more than one store."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem: Problem = problem


def manifest_store(data: bytes) -> bytes | None:
    """Return the manifest store of a PNG, JPEG or WebP file, None without one; raises StoreRefused."""
    match media_type_of(data):
        case "image/png":
            stores = list(_chunks(data, b"caBX", 8, is_png=True))
        case "image/webp":
            stores = list(_chunks(data, b"C2PA", 12, is_png=False))
        case "image/jpeg":
            stores = _jpeg_stores(data)
        case None:
            return None
    if len(stores) > 1:
        raise StoreRefused("unreadable")
    if any(len(store) > MAX_STORE_BYTES for store in stores):
        raise StoreRefused("too_large")
    if any(COMPRESSED_BOX in store for store in stores):
        raise StoreRefused("compressed")
    return stores[0] if stores else None


def memory_needed(files: Iterable[bytes]) -> int:
    """Return the bytes of memory that it takes to read the manifests of files one after the other."""
    return MEMORY_PER_BYTE * max(map(_readable_bytes, files), default=0)


def _readable_bytes(data: bytes) -> int:
    try:
        return len(manifest_store(data) or b"")
    except StoreRefused:
        return 0


def _chunks(data: bytes, name: bytes, position: int, *, is_png: bool) -> Iterator[bytes]:
    """Yield the contents of the chunks of a name, in a PNG or a RIFF file."""
    for _ in range(MAX_BLOCKS):
        if position + 8 > len(data):
            return
        if is_png:
            length, found = unpack_from(">I4s", data, position)
        else:
            found, length = unpack_from("<4sI", data, position)
        if found == name:
            yield data[position + 8 : position + 8 + length]
        position += 8 + length + (4 if is_png else length % 2)
    _require_no_more(data, name, position)


def _jpeg_stores(data: bytes) -> list[bytes]:
    """Return the stores of a JPEG, each joined from its segments, which have a number in common."""
    position, stores = 2, dict[bytes, list[bytes]]()
    for _ in range(MAX_BLOCKS):
        if position + 4 > len(data):
            break
        mark, kind, length = unpack_from(">BBH", data, position)
        if (mark, kind) == (0xFF, START_OF_SCAN):
            # c2pa looks no further either, and the files that phones append may have any bytes.
            position = len(data)
        if mark != 0xFF or kind not in JPEG_SEGMENTS:
            break
        content = data[position + 4 : position + 2 + length]
        if kind == APP11:
            number = content[2:4]
            if number in stores:
                # The header of the box is repeated in every segment.
                stores[number].append(content[16:])
            elif content[24:28] == b"c2pa":
                stores[number] = [content[8:]]
        position += 2 + length
    _require_no_more(data, bytes([0xFF, APP11]), position)
    return [b"".join(parts) for parts in stores.values()]


def _require_no_more(data: bytes, name: bytes, position: int) -> None:
    # c2pa would read it for an ingredient.
    if data.find(name, position) >= 0:
        raise StoreRefused("unreadable")
