"""What becomes of an image that a request starts from: its shape, its holes, and how much of it stays."""

import numpy as np
import pytest
from PIL import Image

from imageserver.api.inputs.images import init_image
from imageserver.api.inputs.images.init_image import InitImage
from imageserver.generation import ModelInfo
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.images import file_of, one_colour

SETTINGS = Settings(_env_file=None)
SQUARE = generation(width=64, height=64)


def holed(*, width=96, height=96, hole=0):
    """Return a PNG that is transparent from its left side to `hole`."""
    image = Image.new("RGBA", (width, height), (0, 0, 255, 255))
    image.paste((0, 0, 0, 0), (0, 0, hole, height))
    return file_of(image)


def bands():
    """Return an image with a red band at both sides, which a square cut out of its middle does not show."""
    image = Image.new("RGB", (192, 64), "red")
    image.paste((0, 0, 255), (64, 0, 128, 64))
    return file_of(image)


def read(info=None, **fields):
    return init_image.read(InitImage(**fields), SETTINGS, info)


def fitted(image, asked=SQUARE, strength=None):
    """Return the source of a generation, its pixels and its mask, which is None without one."""
    source, data = image.fit(asked, strength)
    values, size = np.frombuffer(data, np.uint8), asked.width * asked.height
    mask = values[3 * size :].reshape(asked.height, asked.width) if source.masked else None
    return source, values[: 3 * size].reshape(asked.height, asked.width, 3), mask


@pytest.mark.parametrize(("resize", "corner"), [(None, [0, 0, 255]), ("crop", [0, 0, 255]), ("stretch", [255, 0, 0])])
def test_an_image_of_another_shape_is_cropped_unless_the_client_chooses(resize, corner):
    _, pixels, _ = fitted(read(image=bands(), resize=resize))
    assert np.abs(pixels[5, 5].astype(int) - corner).max() < 20


def test_a_strip_in_its_own_size_is_shown_whole():
    strip = Image.new("RGB", (200, 10), "blue")
    strip.paste((255, 0, 0), (0, 0, 20, 10))
    image = read(image=file_of(strip))
    assert image.default_size == (200, 64)
    _, pixels, _ = fitted(image, generation(width=200, height=64))
    assert pixels[32, 5].tolist() == [255, 0, 0]


def test_a_mask_of_another_shape_covers_its_whole_image_before_both_are_cropped():
    mask = Image.new("L", (64, 64), 0)
    # The middle third is the whole of what is left of the image.
    mask.paste(255, (22, 0, 43, 64))
    _, _, fitted_mask = fitted(read(image=bands(), mask=file_of(mask)))
    assert fitted_mask.mean() > 240


@pytest.mark.parametrize("info", [None, ModelInfo(name="a", kinds=("text", "image", "inpaint"))])
def test_a_transparent_hole_is_the_mask_where_openai_says_so(info):
    image = read(info, image=holed(hole=48), transparent_means_edit=True)
    source, pixels, mask = fitted(image)
    assert (source.masked, source.strength) == (True, 1.0)
    assert mask[32, [10, 50]].tolist() == [255, 0]
    assert pixels[32, 10].tolist() == [255, 255, 255]
    assert image.warnings == ["image is partly transparent and has no mask: that part is regenerated."]


def soft(*, alpha=250, hole=0):
    """Return a PNG that is a little transparent everywhere, and fully from its left side to `hole`."""
    image = Image.new("RGBA", (96, 96), (0, 0, 255, alpha))
    image.paste((0, 0, 0, 0), (0, 0, hole, 96))
    return file_of(image)


@pytest.mark.parametrize("alpha", [1, 128, 250])
def test_an_image_with_soft_edges_and_no_hole_is_edited_as_a_whole(alpha):
    image = read(image=soft(alpha=alpha), transparent_means_edit=True)
    source, _, _ = fitted(image)
    assert (image.mask, source.masked, source.strength) == (None, False, 0.85)
    assert not any("transparent" in warning for warning in image.warnings)


def test_a_hole_beside_soft_edges_is_the_mask():
    _, _, mask = fitted(read(image=soft(hole=48), transparent_means_edit=True))
    assert mask[32, [10, 50]].tolist() == [255, 5]


@pytest.mark.parametrize(
    ("info", "fields"),
    [
        (None, {"image": holed(), "transparent_means_edit": True}),
        (None, {"image": holed(hole=48)}),
        (ModelInfo(name="a", kinds=("edit",)), {"image": holed(hole=48), "transparent_means_edit": True}),
    ],
    ids=["opaque", "another dialect", "a model that edits"],
)
def test_in_all_other_cases_there_is_no_mask(info, fields):
    assert read(info, **fields).mask is None


def test_a_mask_that_was_sent_goes_before_the_hole():
    mask = file_of(Image.new("RGBA", (96, 96), (0, 0, 0, 0)))
    _, _, fitted_mask = fitted(read(image=holed(hole=48), mask=mask, transparent_means_edit=True))
    assert (fitted_mask == 255).all()


def test_the_hole_of_the_first_of_several_images_counts():
    image = read(image=holed(hole=48), further=(one_colour(96, 96),), transparent_means_edit=True)
    _, _, mask = fitted(image, generation(width=192, height=96))
    assert mask[48, [10, 60, 150]].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("prompt", "strength"), [("a cat", 0.85), (" ", 0.6)])
def test_a_prompt_is_followed_and_without_one_the_image_is(prompt, strength):
    asked = generation(prompt, width=64, height=64)
    assert fitted(read(image=one_colour()), asked)[0].strength == strength
    assert fitted(read(image=one_colour()), asked, 0.3)[0].strength == 0.3
