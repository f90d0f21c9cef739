"""The texts of a form are decoded as UTF-8; long ones beyond ASCII are refused."""

import pytest

from imageserver.api.inputs.wide_text.fields import MAX_WIDE_BYTES, FieldDecoder
from imageserver.errors import BadRequest


def test_ascii_of_any_length_is_read_beside_a_prompt_in_any_language():
    decoder = FieldDecoder()
    assert decoder.decode(b"A" * (2 * MAX_WIDE_BYTES)) == "A" * (2 * MAX_WIDE_BYTES)
    assert decoder.decode("a 🐈, 貓".encode()) == "a 🐈, 貓"
    assert decoder.decode(b"a\xff\xc3") == "a\ufffd\ufffd"


def test_the_longest_prompt_that_a_setting_allows_is_read_in_any_letters():
    assert FieldDecoder().decode("🐈".encode() * 1_000_000) == "🐈" * 1_000_000


def test_texts_beyond_ascii_are_limited_together():
    decoder = FieldDecoder()
    decoder.decode(b"a" * (MAX_WIDE_BYTES // 2) + b"\xc3\xa9")
    with pytest.raises(BadRequest, match="form contains more than 4 MiB of text with letters beyond ASCII"):
        decoder.decode(b"a" * (MAX_WIDE_BYTES // 2) + b"\xc3\xa9")
