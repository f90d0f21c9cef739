"""A thumbnail shows the whole image, small."""

import io
import zlib

import pytest
from PIL import Image

from imageserver.imaging.thumbnails import MAX_SIDE, thumbnail
from tests.support.images import file_of


def opened(data):
    image = Image.open(io.BytesIO(data))
    assert image.format == "WEBP"
    return image


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(("size", "small"), [((800, 400), (320, 160)), ((300, 900), (107, 320)), ((64, 32), (64, 32))])
def test_it_has_the_shape_and_the_colours_of_its_image_and_is_never_larger(kind, size, small):
    image = Image.new("RGB", size, "red")
    image.paste((0, 0, 255), (size[0] // 2, 0, *size))
    result = opened(thumbnail(file_of(image, kind)))
    assert result.size == small
    assert max(result.size) <= MAX_SIDE
    left, right = (result.convert("RGB").getpixel((small[0] * part // 4, small[1] // 2)) for part in (1, 3))
    assert left[0] > 200 > left[2]
    assert right[2] > 200 > right[0]


def test_transparency_stays():
    result = opened(thumbnail(file_of(Image.new("RGBA", (640, 640), (255, 0, 0, 0)))))
    assert result.mode == "RGBA"
    assert result.getpixel((10, 10))[3] == 0


def test_no_prompt_travels_with_it():
    image = Image.new("RGB", (640, 640))
    exif = Image.Exif()
    exif[0x010E] = "a secret prompt"
    assert b"secret" not in thumbnail(file_of(image, "JPEG", exif=exif))


@pytest.mark.parametrize("data", [b"", b"no image", file_of(Image.new("RGB", (64, 64)))[:60]])
def test_a_damaged_file_is_an_error(data):
    with pytest.raises(OSError):
        thumbnail(data)


def test_a_file_that_says_that_it_is_huge_is_damaged_too():
    chunks = (b"IHDR", (30_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"), (b"IDAT", b"none")
    file = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        file += len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")
    with pytest.raises(OSError, match="damaged"):
        thumbnail(file)
