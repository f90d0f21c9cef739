"""Pixels travel compressed where that saves bytes, and arrive as they were."""

import random

import pytest

from imageserver.cluster.compression import MIN_BYTES, compress, decompress
from imageserver.cluster.parcels import Item, read_parcel, write_parcel

FLAT = Item("frame", b"header" + bytes([7, 8, 9]) * 512 * 512)
NOISE = Item("frame", random.Random(1).randbytes(3 * 512 * 512))
SMALL = Item("frame", bytes(MIN_BYTES - 1))
LINE = Item("log", bytes(MIN_BYTES))


@pytest.mark.parametrize(("item", "shrinks"), [(FLAT, True), (NOISE, False), (SMALL, False), (LINE, False)])
def test_an_image_is_compressed_only_where_that_saves_bytes_and_arrives_unchanged(item, shrinks):
    packed = compress(item)
    assert (len(packed.content) < len(item.content) / 5) == shrinks
    [arrived] = read_parcel(write_parcel(1, [packed]), 1)
    assert decompress(arrived) == item
