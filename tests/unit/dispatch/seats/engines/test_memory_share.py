"""A job takes as much of an engine's memory as its largest forward."""

import pytest

from imageserver.dispatch.seats.engines.memory_share import MemoryShare
from imageserver.generation import Upscale
from tests.support.factories import generation


@pytest.mark.parametrize(
    ("side", "strength", "images"),
    [(512, 0.3, 4.0), (512, 0.0, 1.0), (4096, 0.3, 16.0)],
    ids=["tiles are the largest", "no tile is generated", "the first stage is the largest"],
)
def test_an_image_in_two_stages_takes_the_memory_of_the_larger_one(side, strength, images):
    upscale = Upscale(width=2 * side, height=2 * side, strength=strength, steps=4, tile=(2048, 2048))
    share = MemoryShare()
    share.add(1, generation(width=side, height=side, upscale=upscale))
    assert share.images == images


def test_a_caption_takes_a_place_though_it_generates_no_image():
    share = MemoryShare()
    share.add(1, generation(count=0, caption="sentence"))
    assert share.images == 1.0
