"""Read what an AVIF or HEIC file contains from its boxes: the size of its image, and where its coded images are.

Source: ISO/IEC 14496-12 (boxes) and 23008-12 (HEIF).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import unpack_from

Size = tuple[int, int]
Span = tuple[int, int]

# A grid has at most 256 tiles, and each has a handful of properties.
MAX_BOXES, MAX_ITEMS = 10_000, 1000


@dataclass(frozen=True)
class Contents:
    """The size of the primary image, and the bytes of every coded image by its type, such as av01."""

    size: Size
    coded: list[tuple[bytes, bytes]]


def brands_of(data: bytes) -> list[bytes]:
    """Return the major brand of a file and its compatible ones; empty for another kind of file."""
    if data[4:8] != b"ftyp":
        return []
    (length,) = unpack_from(">I", data)
    rest = data[16 : min(length, 16 + 4 * 32)]
    return [data[8:12], *(rest[start : start + 4] for start in range(0, len(rest) - 3, 4))]


def read_contents(data: bytes) -> Contents:
    """Return the contents; raises struct.error, IndexError, KeyError or ValueError for a damaged file."""
    top = _boxes(data, (0, len(data)))
    if data[8:12] != b"avif" and any(kind == b"moov" for kind, _ in top):
        raise ValueError("decoders would read its animation instead of its image")
    boxes = _boxes(data, _only(top, b"meta"), skipped=4)
    return Contents(_primary_size(data, boxes), list(_coded_images(data, boxes)))


def _boxes(data: bytes, span: Span, *, skipped: int = 0) -> list[tuple[bytes, Span]]:
    """Return the boxes in a part of the file, each with the place of its content."""
    return list(_walk(data, span[0] + skipped, span[1]))


def _walk(data: bytes, position: int, end: int) -> Iterator[tuple[bytes, Span]]:
    for _ in range(MAX_BOXES):
        if position + 8 > end:
            return
        length, kind = unpack_from(">I4s", data, position)
        head = 8
        if length == 1:
            (length,) = unpack_from(">Q", data, position + 8)
            head = 16
        length = length or end - position
        if length < head:
            raise ValueError("a box is shorter than its own head")
        yield kind, (position + head, min(position + length, end))
        position += length
    raise ValueError("there are too many boxes")


def _only(boxes: list[tuple[bytes, Span]], kind: bytes) -> Span:
    [span] = [span for found, span in boxes if found == kind]
    return span


def _primary_size(data: bytes, boxes: list[tuple[bytes, Span]]) -> Size:
    start, _ = _only(boxes, b"pitm")
    primary = int.from_bytes(data[start + 4 : start + (6 if data[start] == 0 else 8)])
    inside = _boxes(data, _only(boxes, b"iprp"))
    properties = _boxes(data, _only(inside, b"ipco"))
    for kind, span in inside:
        if kind == b"ipma":
            for index in _associated(data, span, primary):
                found, (at, _) = properties[index - 1]
                if found == b"ispe":
                    width, height = unpack_from(">II", data, at + 4)
                    return width, height
    raise ValueError("the primary image has no size")


def _associated(data: bytes, span: Span, wanted: int) -> list[int]:
    """Return the numbers, from 1, of the properties of an item."""
    start, _ = span
    version, wide = data[start], data[start + 3] & 1
    (count,) = unpack_from(">I", data, start + 4)
    position, id_bytes, found = start + 8, 2 if version == 0 else 4, list[int]()
    for _ in range(_bounded(count)):
        item = int.from_bytes(data[position : position + id_bytes])
        number = data[position + id_bytes]
        position += id_bytes + 1
        for _ in range(number):
            index = int.from_bytes(data[position : position + 1 + wide]) & (0x7FFF if wide else 0x7F)
            position += 1 + wide
            if item == wanted and index:
                found.append(index)
    return found


def _coded_images(data: bytes, boxes: list[tuple[bytes, Span]]) -> Iterator[tuple[bytes, bytes]]:
    places = _places(data, _only(boxes, b"iloc")[0])
    start, end = _only(boxes, b"iinf")
    for kind, (at, _) in _boxes(data, (start, end), skipped=6 if data[start] == 0 else 8):
        if kind != b"infe":
            raise ValueError("an item is of an unknown kind")
        id_bytes = 2 if data[at] == 2 else 4
        item = int.from_bytes(data[at + 4 : at + 4 + id_bytes])
        coding = data[at + 6 + id_bytes : at + 10 + id_bytes]
        if coding in (b"av01", b"hvc1"):
            yield coding, b"".join(data[first:last] for first, last in places[item])


def _places(data: bytes, start: int) -> dict[int, list[Span]]:
    """Return where the bytes of every item are that is in the file itself, and not in a box or in another file."""
    version, sizes, further = data[start], data[start + 4], data[start + 5]
    offset_bytes, length_bytes, base_bytes = sizes >> 4, sizes & 15, further >> 4
    index_bytes = further & 15 if version else 0
    position, id_bytes = start + 6, 2 if version < 2 else 4

    def number(size: int) -> int:
        nonlocal position
        if position + size > len(data):
            raise ValueError("the file breaks off")
        position += size
        return int.from_bytes(data[position - size : position])

    places: dict[int, list[Span]] = {}
    for _ in range(_bounded(number(id_bytes))):
        item = number(id_bytes)
        is_elsewhere = version and number(2) & 15
        number(2)
        base = number(base_bytes)
        spans: list[Span] = []
        for _ in range(_bounded(number(2))):
            number(index_bytes)
            first = base + number(offset_bytes)
            spans.append((first, first + number(length_bytes)))
        if not is_elsewhere:
            places[item] = spans
    return places


def _bounded(count: int) -> int:
    if count > MAX_ITEMS:
        raise ValueError("there are too many images")
    return count
