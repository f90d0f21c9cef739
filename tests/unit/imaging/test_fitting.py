"""Masks in both conventions, and images and masks fitted to the size that is generated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imageserver.errors import InvalidParameter
from imageserver.imaging import decoding, fitting
from tests.support.images import BLACK, BLUE, GREEN, RED, WHITE, array_of, colour_at, colours, file_of

MANY = 10**6


def read_mask(image, transparent_means_edit=False, kind="PNG"):
    data = file_of(image, kind)
    return decoding.read_mask(data, name="mask", max_pixels=MANY, transparent_means_edit=transparent_means_edit)


def test_white_is_regenerated_black_is_kept_and_grey_is_between():
    image = Image.fromarray(np.array([[0, 128, 255]], np.uint8))
    assert list(read_mask(image).data) == [0, 128, 255]
    assert list(read_mask(image.convert("RGB"), kind="BMP").data) == [0, 128, 255]


def test_white_strokes_on_a_transparent_ground_are_regenerated():
    image = Image.new("RGBA", (2, 1), (*WHITE, 0))
    image.putpixel((1, 0), (*WHITE, 255))
    assert list(read_mask(image).data) == [0, 255]


def test_openai_s_masks_regenerate_what_is_transparent_whatever_its_colour():
    image = Image.new("RGBA", (3, 1), (*WHITE, 255))
    image.putpixel((1, 0), (*RED, 0))
    image.putpixel((2, 0), (*BLACK, 100))
    assert list(read_mask(image, transparent_means_edit=True).data) == [0, 255, 155]


@pytest.mark.parametrize("image", [Image.new("L", (4, 4), 255), Image.new("RGBA", (4, 4), WHITE)], ids=["L", "opaque"])
def test_a_mask_of_the_wrong_convention_is_told_of_transparency(image):
    with pytest.raises(InvalidParameter, match=r"^mask has no transparent pixels, .* alpha channel") as caught:
        read_mask(image, transparent_means_edit=True)
    assert caught.value.param == "mask"


def test_a_black_mask_with_holes_is_told_of_white():
    image = Image.new("RGBA", (2, 1), (*BLACK, 255))
    image.putpixel((1, 0), (*BLACK, 0))
    with pytest.raises(InvalidParameter, match=r"^mask has only transparent and black pixels: .* white"):
        read_mask(image)


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_a_black_mask_without_holes_keeps_everything(mode):
    assert list(read_mask(Image.new("L", (2, 1)).convert(mode)).data) == [0, 0]


def test_a_mask_is_held_to_the_limits_and_named():
    data = file_of(Image.new("L", (20, 10)))
    with pytest.raises(InvalidParameter, match=r"^mask is 20x10, 200 pixels; the limit is 199"):
        decoding.read_mask(data, name="mask", max_pixels=199, transparent_means_edit=False)


def pixels_of(image):
    return decoding.Pixels(*image.size, image.tobytes())


@pytest.mark.parametrize("mode", ["stretch", "crop", "pad"])
def test_an_image_in_its_own_size_is_unchanged(mode):
    assert fitting.fit_image(pixels_of(colours()), 16, 8, mode) == pixels_of(colours())


@pytest.mark.parametrize("mode", ["stretch", "crop", "pad"])
@given(
    given=st.tuples(st.integers(1, 80), st.integers(1, 80)), wanted=st.tuples(st.integers(1, 80), st.integers(1, 80))
)
@settings(max_examples=60, deadline=None)
def test_every_size_fits_into_every_other_and_one_colour_stays_one(mode, given, wanted):
    colour = (200, 100, 50)
    fitted = fitting.fit_image(pixels_of(Image.new("RGB", given, colour)), *wanted, mode)
    assert (fitted.width, fitted.height) == wanted
    assert fitted.data == Image.new("RGB", wanted, colour).tobytes()
    mask = fitting.fit_mask(decoding.Mask(*given, b"\xff" * (given[0] * given[1])), *wanted, mode)
    assert mask == decoding.Mask(*wanted, b"\xff" * (wanted[0] * wanted[1]))


def thirds(size, box_left, box_right):
    """Return an image with a red left, a green middle and a blue right."""
    image = Image.new("RGB", size, GREEN)
    image.paste(RED, (0, 0, box_left, size[1]))
    image.paste(BLUE, (box_right, 0, size[0], size[1]))
    return pixels_of(image)


def test_stretch_shows_all_of_it_in_another_shape():
    fitted = fitting.fit_image(thirds((90, 30), 30, 60), 30, 30, "stretch")
    assert [colour_at(fitted, x, 15) for x in (3, 15, 26)] == [RED, GREEN, BLUE]


def test_crop_keeps_the_centre_and_its_shape():
    fitted = fitting.fit_image(thirds((90, 30), 20, 70), 60, 60, "crop")
    assert {colour_at(fitted, x, y) for x in (0, 30, 59) for y in (0, 59)} == {GREEN}


def test_pad_shows_all_of_it_and_continues_the_edges():
    fitted = fitting.fit_image(thirds((90, 30), 30, 60), 90, 90, "pad")
    for y in (0, 45, 89):
        assert [colour_at(fitted, x, y) for x in (0, 45, 89)] == [RED, GREEN, BLUE]
    tall = Image.fromarray(
        np.asarray(Image.frombytes("RGB", (90, 30), thirds((90, 30), 30, 60).data)).transpose(1, 0, 2)
    )
    fitted = fitting.fit_image(pixels_of(tall), 90, 90, "pad")
    for x in (0, 45, 89):
        assert [colour_at(fitted, x, y) for y in (0, 45, 89)] == [RED, GREEN, BLUE]


def test_both_keep_a_square_square_and_in_the_centre():
    dot = Image.new("L", (40, 20))
    dot.paste(255, (18, 8, 22, 12))
    for mode, side in (("pad", 2), ("crop", 4)):
        seen = array_of(fitting.fit_mask(decoding.Mask(40, 20, dot.tobytes()), 20, 20, mode)) > 127
        assert seen[10 - side // 2 : 10 + side // 2, 10 - side // 2 : 10 + side // 2].all()
        assert seen.sum() == side**2


@pytest.mark.parametrize("mode", ["stretch", "crop", "pad"])
def test_a_mask_lies_where_its_image_lies(mode):
    shape = Image.new("L", (90, 30))
    shape.paste(255, (30, 10, 60, 20))
    mask = array_of(fitting.fit_mask(decoding.Mask(90, 30, shape.tobytes()), 64, 48, mode))
    seen = array_of(fitting.fit_image(pixels_of(shape.convert("RGB")), 64, 48, mode))[..., 0]
    assert ((mask > 127) == (seen > 127)).mean() > 0.98
    assert mask.max() == 255
    assert mask.min() == 0


def test_images_of_other_sizes_stand_in_one_row_as_high_as_the_first() -> None:
    red, green = decoding.Pixels(4, 8, bytes([255, 0, 0]) * 32), decoding.Pixels(20, 10, bytes([0, 255, 0]) * 200)
    row, first = fitting.side_by_side([red, green], 1024)
    assert (row.width, row.height, first) == (4 + 16, 8, 4)
    colours = np.frombuffer(row.data, np.uint8).reshape(8, 20, 3)
    assert (colours[:, :4] == [255, 0, 0]).all()
    assert (colours[:, 4:] == [0, 255, 0]).all()


def test_a_row_is_not_higher_than_its_limit() -> None:
    row, first = fitting.side_by_side([decoding.Pixels(40, 20, bytes(2400))] * 2, 10)
    assert (row.width, row.height, first) == (40, 10, 20)


def test_a_row_of_very_long_images_is_refused_before_it_is_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "MAX_ROW_PIXELS", 1000)
    high, long = decoding.Pixels(4, 16, bytes(192)), decoding.Pixels(30, 8, bytes(720))
    row, _ = fitting.side_by_side([high, high, decoding.Pixels(8, 8, bytes(192))], 1024)
    assert row.width * row.height == 384
    with pytest.raises(InvalidParameter, match="more than 1000 pixels") as refused:
        fitting.side_by_side([high, long], 1024, name="images")
    assert refused.value.param == "images"


def test_the_mask_of_a_row_keeps_all_but_the_first() -> None:
    row, first = fitting.side_by_side([decoding.Pixels(4, 8, bytes(96)), decoding.Pixels(6, 8, bytes(144))], 1024)
    mask = fitting.over_the_first(decoding.Mask(2, 4, bytes([255]) * 8), first, row)
    values = np.frombuffer(mask.data, np.uint8).reshape(8, 10)
    assert (values[:, :4] == 255).all()
    assert not values[:, 4:].any()
