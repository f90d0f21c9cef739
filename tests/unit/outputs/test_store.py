"""An image in a store, read in parts."""

import pytest

from imageserver.errors import StorageUnavailable
from imageserver.outputs.store import StoredImage


def test_an_image_is_read_to_its_end():
    data = b"0123456789"
    assert StoredImage("a.png", 10, data[:4], lambda start: data[start : start + 4]).read_bytes() == data


def test_an_image_that_becomes_shorter_while_it_is_read_keeps_nobody_reading():
    asked = []

    def read(start):
        assert not asked, "asked again"
        asked.append(start)
        return b""

    with pytest.raises(StorageUnavailable, match="became shorter"):
        StoredImage("a.png", 10, b"0123", read).read_bytes()
