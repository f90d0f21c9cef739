"""Rewrite long JSON in ASCII: one emoji in a prompt made four bytes of each letter of the image beside it."""

import codecs
import json
import re
from collections.abc import Iterator

from imageserver.api.inputs.wide_text.fields import MAX_WIDE_BYTES, too_wide
from imageserver.api.wsgi.yielding import yield_to_others
from imageserver.errors import BadRequest

# What is searched between two pauses, which takes 1 ms.
SEARCHED_BYTES = 2**20
# What is rewritten between two pauses; where every second letter is ASCII, it takes 6 ms.
REWRITTEN_BYTES = 2**14
# Of the quotes that are looked at; what follows counts as one text.
MAX_QUOTES = 40_000
QUOTES_PER_YIELD = 4000
# Half of an emoji, which takes four in UTF-8 and in Python; any other letter takes no more there.
WIDE_BYTES_PER_ESCAPE = 2
# An escape of a letter beyond ASCII. .NET and others write + and = of base64 as escapes too. One that the end of a
# piece cuts is found in the next piece.
WIDE_ESCAPE = re.compile(rb"\\u(?!00[0-7]|.{0,2}\Z)", re.DOTALL)
MAX_ESCAPE_BYTES = 6
BEYOND_ASCII = re.compile(r"[^\0-\x7f]+")
# A letter beyond ASCII after a backslash that is not one of a pair: JSON has no such escape.
WRONG_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\[^\0-\x7f]")


def as_text(data: bytes) -> str:
    """Return JSON in UTF-8 as text that Python parses without holding four bytes for each letter of a long text.

    Raises BadRequest for long texts with letters beyond ASCII, and UnicodeError for what is not JSON in UTF-8.
    """
    if len(data) <= MAX_WIDE_BYTES:
        return data.decode("utf-8", "surrogatepass")
    letters = _WideLetters(data)
    if letters.is_wide(0, len(data)):
        if sum(letters.wide_bytes(start, end) for start, end in _texts(data)) > MAX_WIDE_BYTES:
            raise too_wide("JSON")
        return "".join(_rewritten(data))
    return data.decode("ascii")


def as_utf8(data: bytes) -> bytes:
    """Return JSON in any encoding that the standard once allowed in UTF-8; raises BadRequest, UnicodeDecodeError."""
    encoding = json.detect_encoding(data)
    if encoding.startswith("utf-8"):
        return data.removeprefix(codecs.BOM_UTF8)
    if len(data) > MAX_WIDE_BYTES:
        raise BadRequest(f"JSON of more than {MAX_WIDE_BYTES >> 20} MiB must be in UTF-8.")
    return data.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")


class _WideLetters:
    """Looks for letters beyond ASCII in some JSON, as they are or as escapes, and pauses after SEARCHED_BYTES."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._until_pause = SEARCHED_BYTES

    def is_wide(self, start: int, end: int) -> bool:
        """Return whether there are any in a part."""
        for first in self._firsts(start, end):
            piece = self._data[first : min(first + SEARCHED_BYTES + MAX_ESCAPE_BYTES, end)]
            if not piece.isascii() or (b"\\" in piece and WIDE_ESCAPE.search(piece)):
                return True
        return False

    def wide_bytes(self, start: int, end: int) -> int:
        """Return how long a part with such letters is, its escapes as UTF-8; 0 for a part without them."""
        if not self.is_wide(start, end):
            return 0
        # Where two backslashes precede a u, they may be a pair.
        escapes = sum(
            self._count(b"\\u", first, end) - self._count(b"\\\\u", first, end) for first in self._firsts(start, end)
        )
        return end - start - escapes * (MAX_ESCAPE_BYTES - WIDE_BYTES_PER_ESCAPE)

    def _count(self, mark: bytes, first: int, end: int) -> int:
        """Return how often a mark begins in a piece."""
        return self._data.count(mark, first, min(first + SEARCHED_BYTES + len(mark) - 1, end))

    def _firsts(self, start: int, end: int) -> Iterator[int]:
        """Yield where each piece of a part begins."""
        for first in range(start, end, SEARCHED_BYTES):
            if self._until_pause <= 0:
                yield_to_others()
                self._until_pause = SEARCHED_BYTES
            self._until_pause -= min(SEARCHED_BYTES, end - first)
            yield first


def _texts(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each text between two quotes begins and ends, and what is between the texts."""
    begin = searched = 0
    for count in range(MAX_QUOTES):
        if count % QUOTES_PER_YIELD == 0:
            yield_to_others()
        quote = data.find(b'"', searched)
        if quote < 0:
            break
        if not _is_escaped(data, searched, quote):
            yield begin, quote
            begin = quote + 1
        searched = quote + 1
    yield begin, len(data)


def _is_escaped(data: bytes, start: int, quote: int) -> bool:
    """Return whether an odd number of backslashes since `start` precede a quote."""
    if not data.startswith(b"\\", quote - 1, quote):
        return False
    before = data[start:quote]
    return (len(before) - len(before.rstrip(b"\\"))) % 2 == 1


def _rewritten(data: bytes) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    before = ""
    for start in range(0, len(data), REWRITTEN_BYTES):
        text = decoder.decode(data[start : start + REWRITTEN_BYTES], start + REWRITTEN_BYTES >= len(data))
        if not text.isascii():
            yield_to_others()
            if WRONG_ESCAPE.search(before + text):
                raise UnicodeError("A backslash precedes a letter beyond ASCII.")
            text = BEYOND_ASCII.sub(_as_escapes, text)
        before = _open_backslash(before, text)
        yield text


def _open_backslash(before: str, text: str) -> str:
    """Return the backslash at the end of a text that is not one of a pair, or an empty string."""
    if not text.endswith("\\"):
        return "" if text else before
    whole = before + text
    return "\\" * ((len(whole) - len(whole.rstrip("\\"))) % 2)


def _as_escapes(letters: re.Match[str]) -> str:
    return json.dumps(letters[0])[1:-1]
