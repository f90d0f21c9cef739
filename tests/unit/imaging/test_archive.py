"""Several pictures in one file."""

import io
import zipfile

import pytest

from imageserver.imaging.archive import zip_pictures

PICTURES = [("a-1.png", b"\x89PNG one"), ("a-2.png", b"\x89PNG two")]


def test_a_zip_gives_back_every_picture_in_order() -> None:
    with zipfile.ZipFile(io.BytesIO(zip_pictures(PICTURES))) as archive:
        assert archive.testzip() is None
        assert [(name, archive.read(name)) for name in archive.namelist()] == PICTURES


def test_pictures_are_stored_and_not_compressed_again() -> None:
    with zipfile.ZipFile(io.BytesIO(zip_pictures(PICTURES))) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_two_pictures_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="name of its own"):
        zip_pictures([PICTURES[0], PICTURES[0]])
