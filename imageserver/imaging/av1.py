"""Read the size of the frames of an AV1 still image from its own headers: those of the file around it may lie.

An AVIF file of a few kilobytes may name a small size and contain a frame of 16384 x 16384, which the decoder would
allocate. Source: AV1 Bitstream & Decoding Process Specification, sections 5.3 to 5.9.
"""

from collections.abc import Iterator
from dataclasses import dataclass

SEQUENCE_HEADER, FRAME_HEADER, FRAME, REDUNDANT_FRAME_HEADER = 1, 3, 6, 7
# A still image has two, and a progressive one a few more.
MAX_UNITS = 1000
CHOSEN_BY_FRAME = 2


class UnsupportedStream(Exception):
    """The stream is damaged, or uses what no still image needs."""


@dataclass(frozen=True)
class _Sequence:
    """What a sequence header says: the size of its frames, and what their headers contain."""

    width: int
    height: int
    reduced: bool
    screen_content: int
    integer_motion: int


class _Bits:
    """Reads numbers of any number of bits from the first ones of a unit."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data[:64]), 8 * min(len(data), 64)

    def __call__(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise UnsupportedStream
        return self._value >> self._left & ((1 << count) - 1)


def frame_pixels(stream: bytes) -> int:
    """Return the number of pixels of the largest frame; raises UnsupportedStream."""
    sequence, largest = None, 0
    for kind, content in _units(stream):
        if kind == SEQUENCE_HEADER:
            sequence = _sequence(_Bits(content))
            largest = max(largest, sequence.width * sequence.height)
        elif kind in (FRAME_HEADER, FRAME, REDUNDANT_FRAME_HEADER):
            if sequence is None:
                raise UnsupportedStream
            _refuse_other_sizes(_Bits(content), sequence)
    return largest


def _units(stream: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    for _ in range(MAX_UNITS):
        if position >= len(stream):
            return
        head = stream[position]
        has_extension, has_size = head >> 2 & 1, head >> 1 & 1
        if head >> 7:
            raise UnsupportedStream
        position += 1 + has_extension
        length = len(stream) - position
        if has_size:
            length, position = _variable_number(stream, position)
        yield head >> 3 & 15, stream[position : position + min(length, 64)]
        position += length
    raise UnsupportedStream


def _variable_number(stream: bytes, position: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(stream[position : position + 8]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, position + index + 1
    raise UnsupportedStream


def _sequence(bits: _Bits) -> _Sequence:
    # Its profile, and whether it is a still image.
    bits(4)
    reduced = bool(bits(1))
    if reduced:
        bits(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits(4) + 1, bits(4) + 1
    width, height = bits(width_bits) + 1, bits(height_bits) + 1
    if reduced:
        return _Sequence(width, height, reduced, CHOSEN_BY_FRAME, CHOSEN_BY_FRAME)
    # Frames with numbers belong to a video.
    if bits(1):
        raise UnsupportedStream
    # Three tools for frames on their own, and four for frames that follow others.
    bits(7)
    ordered = bits(1)
    bits(2 * ordered)
    screen_content = CHOSEN_BY_FRAME if bits(1) else bits(1)
    integer_motion = CHOSEN_BY_FRAME
    if screen_content and not bits(1):
        integer_motion = bits(1)
    return _Sequence(width, height, reduced, screen_content, integer_motion)


def _skip_operating_points(bits: _Bits) -> None:
    # Timing belongs to a video.
    if bits(1):
        raise UnsupportedStream
    has_delay = bits(1)
    for _ in range(bits(5) + 1):
        bits(12)
        if bits(5) > 7:
            bits(1)
        if has_delay and bits(1):
            bits(4)


def _refuse_other_sizes(bits: _Bits, sequence: _Sequence) -> None:
    """Raise UnsupportedStream for a frame that is not a shown key frame in the size of its sequence."""
    if sequence.reduced:
        return
    shows_existing, kind, shown = bits(1), bits(2), bits(1)
    if shows_existing or kind or not shown:
        raise UnsupportedStream
    # How its probabilities adapt.
    bits(1)
    screen_content = bits(1) if sequence.screen_content == CHOSEN_BY_FRAME else sequence.screen_content
    if screen_content and sequence.integer_motion == CHOSEN_BY_FRAME:
        bits(1)
    if bits(1):
        raise UnsupportedStream
