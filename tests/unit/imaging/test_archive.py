"""Several images in one file."""

import io
import zipfile

import pytest

from imageserver.imaging.archive import zip_images

IMAGES = [("a-1.png", b"\x89PNG one"), ("a-2.png", b"\x89PNG two")]


def test_a_zip_gives_back_every_image_in_order() -> None:
    with zipfile.ZipFile(io.BytesIO(zip_images(IMAGES))) as archive:
        assert archive.testzip() is None
        assert [(name, archive.read(name)) for name in archive.namelist()] == IMAGES


def test_images_are_stored_and_not_compressed_again() -> None:
    with zipfile.ZipFile(io.BytesIO(zip_images(IMAGES))) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_two_images_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="unique name"):
        zip_images([IMAGES[0], IMAGES[0]])
