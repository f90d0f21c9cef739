"""Long JSON means the same in ASCII, and long texts beyond ASCII are refused before Python holds them."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageserver.api.inputs.bounded_json import InvalidJSON, parse
from imageserver.api.inputs.wide_text import ascii_json
from imageserver.api.inputs.wide_text.ascii_json import MAX_WIDE_BYTES, as_text
from imageserver.errors import BadRequest
from tests.support.blocking import cpu_seconds, longest_block

IMAGE = "QUJD" * (4 * 2**20)
TEXTS = st.text(st.sampled_from('aZ"\\/,\x7f\x80\xe9Жカ🐈\u2028'), max_size=40)
LIMIT = "more than 4 MiB of text with letters beyond ASCII"


def written(content, *, as_escapes):
    return json.dumps(content, ensure_ascii=as_escapes).encode()


@pytest.fixture
def every_body_is_long(monkeypatch):
    monkeypatch.setattr(ascii_json, "MAX_WIDE_BYTES", 200)
    monkeypatch.setattr(ascii_json, "SEARCHED_BYTES", 7)
    monkeypatch.setattr(ascii_json, "REWRITTEN_BYTES", 3)
    # A pause after every third letter would take nearly all of the time.
    monkeypatch.setattr(ascii_json, "yield_to_others", lambda: None)


@pytest.mark.usefixtures("every_body_is_long")
@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS), max_size=4), st.booleans())
def test_a_long_body_means_what_it_means_for_json_wherever_it_is_cut(content, as_escapes):
    body = written(content | {"image": "+/" * 200}, as_escapes=as_escapes)
    with contextlib.suppress(BadRequest):
        text = as_text(body)
        assert text.isascii()
        assert json.loads(text) == json.loads(body)


@pytest.mark.usefixtures("every_body_is_long")
@pytest.mark.parametrize("as_escapes", [True, False])
@pytest.mark.parametrize("before", ["", '"', "\\", '\\"', '\\\\" , "', "+" * 3])
def test_a_text_beyond_ascii_is_as_long_as_it_is_whatever_quotes_are_in_it(before, as_escapes):
    image = {"image": "a" * 500}
    for length in range(100, 108):
        kept = image | {"prompt": before + "a" * length + "🐈"}
        assert parse(written(kept, as_escapes=as_escapes)) == kept
    for length in (200, 250):
        with pytest.raises(BadRequest, match="letters beyond ASCII"):
            parse(written(image | {"prompt": "a" * length + before + "🐈"}, as_escapes=as_escapes))


@pytest.mark.parametrize("as_escapes", [True, False])
def test_an_emoji_beside_an_image_is_read_and_one_in_a_text_of_its_size_is_refused(as_escapes):
    content = {"prompt": "a cat 🐈", "image": IMAGE}
    assert parse(written(content, as_escapes=as_escapes)) == content
    with pytest.raises(BadRequest, match=LIMIT):
        parse(written({"prompt": IMAGE + "🐈"}, as_escapes=as_escapes))
    with pytest.raises(BadRequest, match=LIMIT):
        parse(written({str(number): "a" * 2**20 + "é" for number in range(4)}, as_escapes=as_escapes))


@pytest.mark.parametrize("prompt", ["貓" * 1_000_000, "🐈" * 500_000], ids=["letters", "emoji"])
def test_a_long_prompt_is_read_as_escapes_as_far_as_their_number_is_allowed(prompt):
    assert parse(written({"prompt": prompt}, as_escapes=True)) == {"prompt": prompt}


def test_escapes_count_as_the_bytes_of_their_letters():
    with pytest.raises(BadRequest, match=LIMIT):
        parse(written({"prompt": "a" * 2**21 + "🐈" * 490_000 + "a" * 250_000}, as_escapes=True))


@pytest.mark.usefixtures("every_body_is_long")
def test_what_only_looks_like_an_escape_counts_as_long_as_it_is():
    with pytest.raises(BadRequest, match="letters beyond ASCII"):
        parse(written({"prompt": "\\u" * 100 + "🐈"}, as_escapes=True))


@pytest.mark.usefixtures("every_body_is_long")
@pytest.mark.parametrize("before", range(10))
def test_a_backslash_before_a_letter_beyond_ascii_is_an_escape_in_no_json_however_long(before):
    body = '{"image": "%s", "prompt": "%s%s🐈é"}'
    for backslashes in range(8):
        text = body % ("a" * 300, "a" * before, "\\" * backslashes)
        if backslashes % 2:
            with pytest.raises(InvalidJSON):
                parse(text.encode())
        else:
            assert parse(text.encode()) == json.loads(text)


def test_many_texts_are_searched_with_as_many_pauses_as_one(monkeypatch):
    pauses = []
    monkeypatch.setattr(ascii_json, "yield_to_others", lambda: pauses.append(1))
    for texts in (1, 32):
        pauses.clear()
        as_text(written({"images": ["A" * (2**23 // texts)] * texts, "prompt": "🐈"}, as_escapes=True))
        # To see whether there is such a letter at all, and in which text.
        assert len(pauses) >= 15


def test_base64_whose_signs_are_escapes_is_an_image_all_the_same():
    content = {"image": ("A" * 20 + "+/=") * 300_000}
    body = json.dumps(content).replace("+", "\\u002B").replace("/", "\\/").replace("=", "\\u003d").encode()
    assert len(body) > MAX_WIDE_BYTES
    assert parse(body) == content


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_other_encodings_are_read_unless_they_are_long(encoding):
    assert parse('{"prompt": "a 🐈"}'.encode(encoding)) == {"prompt": "a 🐈"}
    long = json.dumps({"image": "A" * MAX_WIDE_BYTES}).encode(encoding)
    if encoding == "utf-8-sig":
        assert len(parse(long)["image"]) == MAX_WIDE_BYTES
    else:
        with pytest.raises(BadRequest, match="must be in UTF-8"):
            parse(long)


@pytest.mark.parametrize("junk", [b"\xff", b"\xc3", b"\xf0\x9f"])
def test_what_is_not_utf_8_is_not_json(junk):
    for length in (1, MAX_WIDE_BYTES):
        with pytest.raises(InvalidJSON):
            parse(b'{"image": "' + b"a" * length + b'", "prompt": "' + junk + b'"}')


@pytest.mark.parametrize("as_escapes", [True, False])
@pytest.mark.parametrize("content", [{"prompt": "a cat 🐈", "image": IMAGE}, {"prompt": IMAGE + "🐈"}], ids=len)
def test_an_emoji_in_long_json_keeps_others_waiting_for_a_fraction_of_the_time_that_python_takes(content, as_escapes):
    body, text = written(content, as_escapes=as_escapes), written(IMAGE + "🐈", as_escapes=False)

    def parse_or_refuse():
        with contextlib.suppress(BadRequest):
            parse(body)

    # The least of two: a busy machine makes single ones longer.
    assert min(longest_block(parse_or_refuse) for _ in range(2)) < cpu_seconds(lambda: json.loads(text)) / 2
