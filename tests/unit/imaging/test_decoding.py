"""Whatever bytes a client calls an image: pixels come out, or one sentence that names the field and the limit."""

import struct
import tracemalloc
import warnings
import zlib
from functools import cache, partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from imageserver.errors import InvalidParameter
from imageserver.imaging import decoding
from tests.support.images import BLACK, BLUE, GREEN, RED, WHITE, array_of, chunk, colour_at, colours, file_of, png_with

FORMATS = ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP"]
EXACT = {"PNG": {}, "WEBP": {"lossless": True}, "BMP": {}}
MANY = 10**6


def read(data, max_pixels=MANY):
    return decoding.read_image(data, name="image", max_pixels=max_pixels)


@pytest.mark.parametrize(("kind", "options"), EXACT.items())
def test_exact_formats_give_back_every_pixel_row_by_row(kind, options):
    pixels = read(file_of(colours(), kind, **options))
    assert (pixels.width, pixels.height) == (16, 8)
    assert pixels.data == colours().tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "GIF"])
def test_the_other_formats_look_the_same(kind):
    image = Image.new("RGB", (16, 8), (200, 100, 50))
    assert np.abs(array_of(read(file_of(image, kind))).astype(int) - (200, 100, 50)).max() <= 3


@pytest.mark.fault(21)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_becomes_rgb(mode):
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    if mode == "I;16":
        image = Image.fromarray(np.full((8, 8), 65_535, np.uint16))
    else:
        image = Image.new("RGB", (8, 8), WHITE).convert(mode)
    pixels = read(file_of(image, kind))
    assert len(pixels.data) == 8 * 8 * 3
    assert array_of(pixels).min() >= 253


@pytest.mark.fault(21)
def test_sixteen_bits_are_cut_to_eight_and_not_to_white():
    image = Image.fromarray(np.array([[0, 0x4000, 0x80FF, 0xFFFF]], np.uint16))
    assert array_of(read(file_of(image)))[0, :, 0].tolist() == [0, 0x40, 0x80, 0xFF]


def test_transparency_becomes_white():
    image = Image.new("RGBA", (3, 1), (*BLACK, 0))
    image.putpixel((1, 0), (*RED, 255))
    image.putpixel((2, 0), (*RED, 128))
    pixels = read(file_of(image))
    assert [colour_at(pixels, x, 0) for x in range(3)] == [WHITE, RED, (255, 127, 127)]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_s_transparent_entry_becomes_white(kind):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    pixels = read(file_of(image, kind, transparency=0))
    assert [colour_at(pixels, x, 0) for x in range(2)] == [WHITE, BLUE]


def test_a_palette_with_many_transparencies_is_laid_on_white_without_a_warning():
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    pixels = read(file_of(image, transparency=bytes([128, 0])))
    assert [colour_at(pixels, x, 0) for x in range(2)] == [(255, 127, 127), WHITE]


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_value_of_a_grey_png_becomes_white(bits):
    values = np.array([[7, 9]], np.uint8 if bits == 8 else np.uint16) << (bits - 8)
    data = png_with(Image.fromarray(values), chunk(b"tRNS", struct.pack(">H", 7 << (bits - 8))))
    assert array_of(read(data))[0, :, 0].tolist() == [255, 9]


@pytest.mark.fault(21)
@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_an_animation_gives_its_first_frame(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = file_of(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **options)
    assert colour_at(read(data), 4, 4) == RED


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_that_exif_tells_is_applied(kind, orientation):
    corners = Image.new("RGB", (32, 16), BLACK)
    corners.paste(RED, (0, 0, 16, 8))
    corners.paste(BLUE, (16, 0, 32, 8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    # From the standard's table: where row 0 and column 0 of what is stored lie in what is seen.
    left_top = {1: "lt", 2: "rt", 3: "rb", 4: "lb", 5: "lt", 6: "rt", 7: "rb", 8: "lb"}[orientation]
    pixels = read(file_of(corners, kind, exif=exif, **({"quality": 100} if kind != "PNG" else {})))
    assert (pixels.width, pixels.height) == ((32, 16) if orientation <= 4 else (16, 32))
    x = 3 if left_top[0] == "l" else pixels.width - 4
    y = 3 if left_top[1] == "t" else pixels.height - 4
    seen = colour_at(pixels, x, y)
    assert seen[0] > 200
    assert seen[2] < 50
    # Blue lies beside red in the stored row: across from it in 1 to 4, above or below it in 5 to 8.
    beside = (pixels.width - 1 - x, y) if orientation <= 4 else (x, pixels.height - 1 - y)
    assert colour_at(pixels, *beside)[2] > 200


@pytest.mark.parametrize("orientation", [0, 9, 77, 65_535])
def test_an_unknown_orientation_changes_nothing(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    assert read(file_of(colours(), exif=exif)).data == colours().tobytes()


@pytest.mark.parametrize(
    "block", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_a_damaged_exif_block_harms_nothing_and_warns_of_nothing(block):
    data = file_of(colours(), "JPEG", quality=100)
    marked = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read(marked) == read(data)
    assert caught == []


@pytest.mark.parametrize("profile", [b"", b"no profile", bytes(200_000)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_colour_profiles_are_ignored(kind, profile):
    plain, marked = (file_of(colours(), kind, icc_profile=given) for given in (None, profile))
    assert read(marked) == read(plain)


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt"])
def test_compressed_texts_and_profiles_are_never_unpacked(kind):
    bomb = chunk(kind, b"name\0\0" + zlib.compress(bytes(50 * 2**20)))
    data = png_with(colours(), bomb)
    tracemalloc.start()
    try:
        assert read(data).data == colours().tobytes()
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.fault(21)
@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_refused(kind):
    data = file_of(Image.effect_noise((64, 64), 50).convert("RGB"), kind)
    for size in range(30, len(data) * 9 // 10, max(1, len(data) // 40)):
        with pytest.raises(InvalidParameter, match=f"(?i)^image is an? {kind} file that is damaged"):
            read(data[:size])


@cache
def real_files():
    noisy = Image.effect_noise((24, 16), 60)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    frames = {"save_all": True, "append_images": [Image.new("RGB", (24, 16), RED)], "duration": 50}
    rgb = noisy.convert("RGB")
    return [
        file_of(rgb, "PNG", exif=exif),
        file_of(noisy.convert("P"), "PNG", transparency=0),
        file_of(Image.fromarray(np.asarray(noisy).astype(np.uint16) * 257), "PNG"),
        file_of(rgb, "PNG", **frames),
        file_of(rgb, "JPEG", exif=exif),
        file_of(rgb, "JPEG", progressive=True),
        file_of(rgb.convert("CMYK"), "JPEG"),
        file_of(rgb, "WEBP", exif=exif),
        file_of(rgb.convert("RGBA"), "WEBP", lossless=True),
        file_of(rgb, "WEBP", **frames),
        file_of(rgb, "GIF", **frames),
        file_of(rgb, "BMP"),
        file_of(noisy.convert("1"), "BMP"),
    ]


def holds(data):
    """Pixels come out whole, or one sentence does."""
    for channels, reading in (
        (3, decoding.read_image),
        (1, partial(decoding.read_mask, transparent_means_edit=True)),
        (1, partial(decoding.read_mask, transparent_means_edit=False)),
    ):
        refused = whole = None
        try:
            whole = reading(data, name="image", max_pixels=4096)
        except InvalidParameter as error:
            refused = error
        if whole is None:
            assert refused.param == "image"
            assert refused.sentence.isprintable()
        else:
            assert 0 < whole.width * whole.height <= 4096
            assert len(whole.data) == whole.width * whole.height * channels


SIGNATURES = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x20\0\0\0WEBPVP8X", b"GIF89a", b"BM", b""]


@given(st.sampled_from(SIGNATURES), st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_random_bytes_raise_nothing_but_one_sentence(signature, data):
    holds(signature + data)


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_damaged_files_raise_nothing_but_one_sentence(data):
    content = bytearray(data.draw(st.sampled_from(real_files())))
    for _ in range(data.draw(st.integers(0, 6))):
        # Most of what decides lies at the beginning.
        place = data.draw(st.one_of(st.integers(0, min(80, len(content) - 1)), st.integers(0, len(content) - 1)))
        content[place] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])))
    holds(bytes(content[: data.draw(st.one_of(st.none(), st.integers(0, len(content))))]))
