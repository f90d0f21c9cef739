"""The demo model's training images: what is drawn, what is told, and what training never sees."""

import random

import numpy as np
import pytest

from tools.demo.captions import sample_caption, scene_text
from tools.demo.chinese import chinese_caption
from tools.demo.codes import COLOUR_NAMES, KIND_NAMES, NULL, PLACE_NAMES, CodeBook, describe, describe_scene, rows
from tools.demo.landscapes import PAINTERS
from tools.demo.measure import centre_of, components, foreground, name_kind, name_landscape, nearest_colour
from tools.demo.rendering import render
from tools.demo.scenes import HELD_OUT_SHARE, Scene, Thing, is_held_out, sample_scene
from tools.demo.stock_pipeline import pixels
from tools.demo.vocabulary import COLOURS, KIND_WORDS, KINDS, LANDSCAPES, NATURAL_COLOURS, SUBJECTS


def thing(kind: str, colour: str, x: float = 0.5, radius: float = 0.3) -> Thing:
    return Thing(kind, colour, COLOURS[colour], "centre", "medium", x, 0.5, radius, frozenset({"kind", "colour"}))


def scene(*things: Thing, background: str = "white", landscape: str | None = None) -> Scene:
    return Scene(landscape, None if landscape else background, COLOURS[background], things, "single", 0.5)


def test_held_out_combinations_are_never_sampled() -> None:
    generator = random.Random(3)
    for _ in range(3000):
        sampled = sample_scene(generator)
        background = sampled.landscape or sampled.background or "pastel"
        assert not any(is_held_out(item.colour, item.kind, background) for item in sampled.things)


def test_held_out_combinations_are_about_the_promised_share() -> None:
    every = [is_held_out(a, kind, b) for a in COLOURS for kind in KINDS for b in COLOURS]
    assert sum(every) / len(every) == pytest.approx(HELD_OUT_SHARE, abs=0.02)


def test_caption_names_what_is_told_and_nothing_else() -> None:
    generator = random.Random(5)
    for _ in range(500):
        sampled = sample_scene(generator)
        text, described = scene_text(generator, sampled).lower(), describe_scene(sampled)
        for item, description in zip(sampled.things, described[1:], strict=False):
            words = (item.kind, *KIND_WORDS[item.kind])
            assert any(word.lower() in text for word in words), text
            assert ("colour" in item.told) == (COLOUR_NAMES[description.colour] != "any")
            assert ("place" in item.told) == (PLACE_NAMES[description.place] != "any")
        absent = [KIND_NAMES[description.kind] for description in described[1 + len(sampled.things) :]]
        assert absent == ["absent"] * (3 - len(sampled.things))


def test_captions_say_null_only_when_they_tell_nothing() -> None:
    generator = random.Random(7)
    samples = [sample_caption(generator) for _ in range(2000)]
    empty = [told for text, told in samples if not text.strip(" .")]
    assert empty
    assert all(told == NULL for told in empty)
    assert all(told != NULL for text, told in samples if "background" in text.lower())


def test_chinese_captions_tell_the_same() -> None:
    generator = random.Random(9)
    for _ in range(200):
        sampled = sample_scene(generator)
        text, described = chinese_caption(generator, sampled)
        assert not text.isascii()
        assert described == describe_scene(sampled)


def test_pairs_are_told_from_left_to_right_and_top_to_bottom() -> None:
    generator = random.Random(11)
    for _ in range(1000):
        sampled = sample_scene(generator)
        if len(sampled.things) == 2:
            first, second = sampled.things
            assert first.x + 0.2 < second.x or first.y + 0.2 < second.y


def test_slot_codes_tell_every_description_apart() -> None:
    book = CodeBook()
    cat = rows([describe("any"), describe("cat", "red"), describe("absent"), describe("absent")])
    dog = rows([describe("any"), describe("cat", "blue"), describe("absent"), describe("absent")])
    import torch

    codes = book.slots(torch.tensor([cat, dog]))
    assert codes.shape == (2, 5, 192)
    assert bool((codes.abs() == 1).all())
    assert (codes[0] != codes[1]).any(-1).tolist() == [False, True, False, False, False]


def test_every_word_of_the_vocabulary_can_be_drawn() -> None:
    assert set(PAINTERS) == set(LANDSCAPES)
    assert set(NATURAL_COLOURS) == set(SUBJECTS)
    for kind in KINDS:
        image = render(scene(thing(kind, "red")), 128, 128)
        assert np.asarray(image).std() > 20, kind


@pytest.mark.parametrize("kind", KINDS)
def test_measures_name_a_drawing_by_its_kind_and_colours(kind: str) -> None:
    image = pixels(render(scene(thing(kind, "purple"), background="yellow"), 512, 512))
    mask = foreground(image)
    assert name_kind(image, mask) == kind
    assert nearest_colour(image[2, 2]) == "yellow"


def test_measures_count_and_locate_objects() -> None:
    pair = scene(thing("circle", "red", 0.25, 0.15), thing("star", "blue", 0.75, 0.15))
    parts = components(foreground(pixels(render(pair, 512, 512))))
    assert [round(centre_of(part)[0], 1) for part in parts] == [0.2, 0.8] or len(parts) == 2


@pytest.mark.parametrize("name", LANDSCAPES)
def test_measures_name_landscapes(name: str) -> None:
    drawn = Scene(name, None, (0, 0, 0), (), "none", 0.1234)
    assert name_landscape(render(drawn, 512, 512)) == name


def test_the_same_seed_draws_the_same_scene() -> None:
    first, second = (render(sample_scene(random.Random(4)), 64, 64).tobytes() for _ in range(2))
    assert first == second
