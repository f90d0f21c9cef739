"""What is refused from an image's header, before anything decodes it."""

import struct

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from imageserver.errors import InvalidParameter
from imageserver.imaging import decoding
from imageserver.imaging.headers import MAX_BLOCKS, MAX_SCANS
from tests.support.images import chunk, colours, file_of, png_with

FORMATS = ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP"]
MANY = 10**6


def read(data, max_pixels=MANY):
    return decoding.read_image(data, name="image", max_pixels=max_pixels)


def refusal(data, max_pixels=MANY):
    with pytest.raises(InvalidParameter) as caught:
        read(data, max_pixels)
    assert caught.value.param == "image"
    assert caught.value.sentence.startswith("image ")
    assert caught.value.sentence.endswith(".")
    return caught.value.sentence


def test_an_empty_field_says_so():
    assert refusal(b"") == "image is empty."


@pytest.mark.parametrize(
    "data",
    [b"hello", b"\0" * 64, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"\x89PNG", b"\xff\xd8", b"RIFF"],
    ids=ascii,
)
def test_what_is_no_image_is_told_what_is_read(data):
    assert refusal(data) == "image is not a readable image; supported are PNG, JPEG, WebP, AVIF, GIF and BMP files."


@pytest.mark.parametrize("kind", ["TIFF", "ICO", "PPM", "TGA", "PCX"])
def test_formats_that_are_not_on_the_list_are_not_even_opened(kind):
    assert "supported are PNG, JPEG, WebP, AVIF, GIF and BMP files" in refusal(
        file_of(Image.new("RGB", (32, 32)), kind)
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_an_image_at_the_limit_is_read_and_one_pixel_more_is_not(kind):
    data = file_of(Image.new("RGB", (20, 10)), kind)
    assert read(data, max_pixels=200).width == 20
    assert refusal(data, max_pixels=199) == "image is 20x10, 200 pixels; the limit is 199."


def bombs():
    """Return small files that call themselves enormous."""
    frame = struct.pack("<HHHHB", 0, 0, 30_000, 30_000, 0) + b"\x02\x02\x4c\x01\0;"
    webp = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (2**14 - 2).to_bytes(3, "little") * 2
    jpeg = bytearray(file_of(Image.new("RGB", (8, 8)), "JPEG"))
    start = jpeg.index(b"\xff\xc0")
    jpeg[start + 5 : start + 9] = struct.pack(">HH", 30_000, 30_000)
    return {
        "PNG": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)),
        "JPEG": bytes(jpeg),
        "BMP": struct.pack("<2sIIIIiiHHIIIIII", b"BM", 0, 0, 54, 40, 30_000, -30_000, 1, 24, 0, 0, 0, 0, 0, 0),
        # Disposal 2 makes Pillow fill a background of the frame's size while it opens the file.
        "GIF": b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"!\xf9\x04\x08\0\0\0\0," + frame,
        "WebP": b"RIFF" + struct.pack("<I", 4 + len(webp)) + b"WEBP" + webp,
    }


@pytest.mark.fault(21)
@pytest.mark.parametrize("kind", bombs())
def test_an_image_larger_than_the_limit_is_refused_before_anything_decodes_it(kind, monkeypatch):
    monkeypatch.setattr(decoding, "DECODERS", {})
    assert "; the limit is " in refusal(bombs()[kind], max_pixels=16 * 2**20)


def test_a_long_thin_image_is_refused_for_its_side():
    assert refusal(file_of(Image.new("1", (32_769, 1)))) == "image is 32769x1; the limit for a side is 32768 pixels."


def test_a_second_header_cannot_make_an_image_larger_than_what_was_checked(monkeypatch):
    monkeypatch.setattr(PngImageFile, "load", lambda _: pytest.fail("It was decoded."))
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    assert "damaged" in refusal(png_with(colours(), second), max_pixels=200)


def test_a_jpeg_of_endlessly_many_scans_is_refused():
    data = file_of(colours(), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert f"more than {MAX_SCANS} scans" in refusal(data[:-2] + scan * MAX_SCANS + data[-2:])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_a_file_of_endlessly_many_blocks_is_refused(kind):
    data = file_of(colours(), kind)
    if kind == "PNG":
        data = png_with(colours(), chunk(b"tEXt") * MAX_BLOCKS)
    elif kind == "JPEG":
        data = data[:2] + b"\xff\xfe\x00\x02" * MAX_BLOCKS + data[2:]
    else:
        end_of_palette = 13 + 3 * (2 << (data[10] & 7))
        data = data[:end_of_palette] + b"!\xfe\x01a\x00" * MAX_BLOCKS + data[end_of_palette:]
    assert f"more than {MAX_BLOCKS} blocks" in refusal(data)


def test_a_run_length_encoded_bmp_is_refused_because_it_decodes_slowly():
    data = bytearray(file_of(Image.new("P", (8, 8)), "BMP"))
    data[30] = 1
    assert "run-length encoded" in refusal(bytes(data))
