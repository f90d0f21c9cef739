"""The page says everything in English and in Chinese, and every text that it names is there."""

import re

import pytest

from imageserver.api.page import views

TEXTS = sorted(views.FOLDER.rglob("texts.js"))
ROOMS = [path for path in TEXTS if path.parent.name != "language"]
LINE = re.compile(r'    "([\w.]+)": "((?:[^"\\]|\\.)*)",')
VALUE = re.compile(r"\{(\w+)\}")
NAMED = re.compile(r'data-(?:text|title|label|alt|placeholder)="([^"]+)"|\btext\("([^"]+)"|"(view\.\w+)"')


def room_of(path):
    return path.parent.name


def tables(path):
    """Return a room's English and Chinese texts by their keys; no other form of line is allowed."""
    content = path.read_text(encoding="utf-8")
    english, chinese = content.split("  zh: {\n")
    found = [dict(LINE.findall(part)) for part in (english, chinese)]
    lines = [line for line in content.splitlines() if line.startswith("    ")]
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert len(lines) == sum(map(len, found)), "a key occurs twice"
    return found


@pytest.mark.parametrize("path", ROOMS, ids=room_of)
def test_a_room_says_the_same_in_both_languages_with_the_same_values(path):
    english, chinese = tables(path)
    assert list(english) == list(chinese)
    for key, sentence in english.items():
        assert sorted(VALUE.findall(sentence)) == sorted(VALUE.findall(chinese[key])), key


def test_no_two_rooms_have_the_same_key():
    keys = [key for path in ROOMS for key in tables(path)[0]]
    assert len(keys) == len(set(keys))


def test_every_text_that_the_page_names_is_there():
    known = {key for path in ROOMS for key in tables(path)[0]}
    files = [path for path in views.FOLDER.rglob("*") if path.suffix in {".html", ".js"} and path not in TEXTS]
    named = {key for path in files for match in NAMED.findall(path.read_text(encoding="utf-8")) for key in match if key}
    # The example in the function that reads these attributes.
    assert named - {"key"} <= known
