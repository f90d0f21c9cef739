"""Several images in one file."""

import io
import zipfile
from collections.abc import Callable

import pytest

from imageserver.imaging.archive import stream_zip, zip_images

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


def test_a_stream_is_a_zip_file_of_what_is_there_with_one_image_in_memory_at_a_time() -> None:
    read: list[str] = []

    def reader(name: str, data: bytes | None) -> Callable[[], bytes | None]:
        return lambda: read.append(name) or data

    parts = stream_zip([(name, reader(name, data)) for name, data in [*IMAGES, ("gone.png", None)]])
    first = next(parts)
    assert read == ["a-1.png"]
    with zipfile.ZipFile(io.BytesIO(first + b"".join(parts))) as archive:
        assert archive.testzip() is None
        assert [(name, archive.read(name)) for name in archive.namelist()] == IMAGES
