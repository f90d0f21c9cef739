"""Infotexts are read as their writers meant them, and in no more time than they are long."""

import pytest

from imageserver.imaging.infotext import MAX_CHARACTERS, parse_infotext
from imageserver.imaging.metadata import ImageMetadata

LINE = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x768, Model hash: 45dee52b"


def test_prompts_of_several_lines_and_settings_are_told_apart():
    parsed = parse_infotext(f"a cat: red, blue\non a mat\nNegative prompt: ugly\n(fat)\n{LINE}")
    assert (parsed["Prompt"], parsed["Negative prompt"]) == ("a cat: red, blue\non a mat", "ugly\n(fat)")
    assert (parsed["Steps"], parsed["Sampler"], parsed["CFG scale"]) == ("20", "Euler a", "7")
    assert (parsed["Size-1"], parsed["Size-2"], parsed["Model hash"]) == ("512", "768", "45dee52b")


def test_what_this_server_writes_comes_back():
    written = ImageMetadata(
        prompt="a cat\nNext: line, x", negative_prompt="dog", steps=4, sampler="Euler", cfg_scale=4.5, seed=2**60,
        width=64, height=96, model='odd, "name": here', version="0.1.0", extra={"batch_size": 2},
    )  # fmt: skip
    assert parse_infotext(written.parameters_text()) == {
        "Prompt": "a cat\nNext: line, x", "Negative prompt": "dog", "Steps": "4", "Sampler": "Euler",
        "CFG scale": "4.5", "Seed": str(2**60), "Size-1": "64", "Size-2": "96", "Model": 'odd, "name": here',
        "batch_size": "2", "Version": "0.1.0",
    }  # fmt: skip


def test_a_text_longer_than_any_infotext_is_a_prompt():
    text = f"{'a' * MAX_CHARACTERS}\n{LINE}"
    assert parse_infotext(text) == {"Prompt": text, "Negative prompt": ""}


@pytest.mark.parametrize("text", ["a cat, sitting: calmly", "one: two", "Seed: 5, Steps: 6"])
def test_a_last_line_with_few_settings_is_prompt(text):
    assert parse_infotext(text) == {"Prompt": text, "Negative prompt": ""}


def test_nothing_gives_nothing():
    assert parse_infotext("") == parse_infotext(" \n ") == {}


def test_damaged_quotes_are_taken_as_they_stand():
    assert parse_infotext('x\na: 1, b: 2, c: "open, d: 4')["c"] == '"open'


@pytest.mark.timeout(20)  # a search from every letter would take minutes
@pytest.mark.parametrize(
    "text", ["a" * 500_000, "a " * 250_000, 'a:"' + "x" * 500_000, "a:" + " " * 500_000, "\n" * 500_000, ":" * 500_000]
)
def test_a_long_text_takes_no_longer_than_it_is_long(text):
    parse_infotext(text)
