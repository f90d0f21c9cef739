"""Whatever a client sends as a picture becomes plain pixels, or an error that names the field."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from PIL import Image

from imageserver.errors import InvalidParameter
from imageserver.imaging.inputs import Pixels, fit_mask, fit_picture, read_mask, read_picture

LIMIT = 1_000_000


def file_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def read(data: bytes, limit: int = LIMIT) -> np.ndarray:
    pixels = read_picture(data, name="image", max_pixels=limit)
    return np.frombuffer(pixels.data, np.uint8).reshape(pixels.height, pixels.width, 3)


def first_pixel(image: Image.Image, kind: str = "PNG", **options) -> list[int]:
    return read(file_of(image, kind, **options))[0, 0].tolist()


def test_every_format_is_read():
    for kind in ("PNG", "BMP", "TIFF", "GIF"):
        assert first_pixel(Image.new("RGB", (4, 3), (255, 0, 0)), kind) == [255, 0, 0]
    for kind in ("JPEG", "WEBP"):
        assert np.abs(np.array(first_pixel(Image.new("RGB", (16, 16), (255, 0, 0)), kind)) - [255, 0, 0]).max() < 6


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (2, 2), 100), [100, 100, 100]),
        (Image.new("1", (2, 2), 1), [255, 255, 255]),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 0)), [255, 255, 255]),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 255)), [255, 0, 0]),
        (Image.new("LA", (2, 2), (0, 0)), [255, 255, 255]),
        (Image.fromarray(np.full((2, 2), 65535, np.uint16)), [255, 255, 255]),
        (Image.fromarray(np.full((2, 2), 25700, np.uint16)), [100, 100, 100]),
    ],
    ids=["grey", "bits", "transparent", "opaque", "grey and transparent", "deep white", "deep grey"],
)
def test_odd_modes_become_rgb(image, expected):
    assert first_pixel(image) == expected


def test_cmyk_and_palettes_with_transparency_become_rgb():
    assert read(file_of(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"))[0, 0].min() > 250
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    assert first_pixel(palette, transparency=0) == [255, 255, 255]
    assert first_pixel(palette) == [255, 0, 0]


def test_the_orientation_of_a_photograph_is_applied():
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (0, 0, 20, 20))
    turned = image.getexif()
    turned[0x0112] = 6  # upright after a quarter turn clockwise
    pixels = read(file_of(image, "PNG", exif=turned))
    assert pixels.shape == (40, 20, 3)
    assert pixels[0, 0, 0] == 255
    assert pixels[39, 0, 0] == 0


def test_the_first_picture_of_an_animation_is_taken():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    target = io.BytesIO()
    frames[0].save(target, "GIF", save_all=True, append_images=frames[1:])
    assert read(target.getvalue())[0, 0].tolist() == [255, 0, 0]


def test_a_picture_over_the_limit_is_refused_before_it_is_decoded(monkeypatch):
    data = file_of(Image.new("RGB", (300, 200)))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("It was decoded."))
    with pytest.raises(InvalidParameter) as caught:
        read(data, limit=59_999)
    assert caught.value.param == "image"
    assert "300x200, 60000 pixels; the limit is 59999" in caught.value.sentence


def test_a_bomb_is_refused_by_its_header():
    bomb = bytearray(file_of(Image.new("1", (8, 8))))
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    with pytest.raises(InvalidParameter):
        read(bytes(bomb))


@pytest.mark.parametrize("data", [b"", b"x", b"<svg/>", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"%PDF-1.4", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_refused_by_name(data):
    with pytest.raises(InvalidParameter) as caught:
        read(data)
    assert caught.value.param == "image"


REAL = [
    file_of(Image.effect_noise((24, 24), 80).convert("RGB"), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF")
]


@settings(max_examples=300, deadline=None)
@given(some.sampled_from(REAL), some.data())
def test_broken_files_are_pixels_or_a_named_error(real, data):
    end = data.draw(some.integers(0, len(real)))
    broken = bytearray(real[:end])
    for position in data.draw(some.lists(some.integers(0, max(0, end - 1)), max_size=4)):
        if broken:
            broken[position] ^= data.draw(some.integers(1, 255))
    refused = None
    try:
        pixels = read_picture(bytes(broken), name="image", max_pixels=LIMIT)
    except InvalidParameter as error:
        refused = error.param
    assert refused == "image" if refused else len(pixels.data) == pixels.width * pixels.height * 3


def test_bright_parts_of_a_mask_are_drawn_anew():
    mask = Image.new("L", (3, 1))
    mask.putdata([0, 128, 255])
    pixels = read_mask(file_of(mask), name="mask", max_pixels=LIMIT, transparent_means_edit=False)
    assert list(pixels.data) == [0, 128, 255]


def test_transparent_parts_of_an_openai_mask_are_drawn_anew():
    mask = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    mask.putpixel((1, 0), (0, 0, 0, 0))
    pixels = read_mask(file_of(mask), name="mask", max_pixels=LIMIT, transparent_means_edit=True)
    assert list(pixels.data) == [0, 255]


def test_an_openai_mask_without_transparency_is_refused():
    with pytest.raises(InvalidParameter, match="alpha channel"):
        read_mask(file_of(Image.new("RGB", (2, 2))), name="mask", max_pixels=LIMIT, transparent_means_edit=True)


def halves() -> Pixels:
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (20, 0, 40, 20))
    return Pixels(40, 20, image.tobytes())


def test_a_picture_of_the_right_size_is_left_alone():
    assert fit_picture(halves(), 40, 20, "stretch").data == halves().data


@pytest.mark.parametrize(
    ("resize", "left", "right", "top"),
    [("stretch", 0, 255, 255), ("crop", 0, 255, 255), ("pad", 0, 255, 255)],
)
def test_every_way_of_fitting_gives_the_exact_size(resize, left, right, top):
    fitted = fit_picture(halves(), 20, 20, resize)
    assert (fitted.width, fitted.height) == (20, 20)
    pixels = np.frombuffer(fitted.data, np.uint8).reshape(20, 20, 3)
    assert (pixels[10, 0, 0], pixels[10, 19, 0], pixels[0, 19, 0]) == (left, right, top)


def test_fitting_inside_keeps_the_shape_and_cutting_fills():
    dot = Image.new("RGB", (40, 20), "black")
    dot.paste("white", (18, 8, 22, 12))
    pixels = Pixels(40, 20, dot.tobytes())
    for resize, expected in (("pad", 4), ("crop", 16)):
        shown = np.frombuffer(fit_picture(pixels, 20, 20, resize).data, np.uint8).reshape(20, 20, 3)[:, :, 0]
        assert int((shown > 127).sum()) == expected


def test_masks_are_fitted_like_their_pictures():
    mask = Pixels(2, 1, bytes([0, 255]))
    fitted = np.frombuffer(fit_mask(mask, 4, 4, "pad").data, np.uint8).reshape(4, 4)
    assert fitted[:, 0].max() == 0
    assert fitted[:, 3].min() == 255
