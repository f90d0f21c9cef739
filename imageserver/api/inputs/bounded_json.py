"""Parse JSON within bounds that are checked before anything is built from it.

31 MiB of empty lists took `json.loads` 2 s and 0.7 GB, as long numbers 0.6 s, and no thread helps: the parser keeps the
GIL. Counting the marks of a text takes 10 ms each, and pauses in between let other clients in.
"""

import json
from typing import Any

from imageserver.api.inputs.wide_text.ascii_json import as_text, as_utf8
from imageserver.api.wsgi.yielding import count_with_pauses, serve_others
from imageserver.errors import BadRequest

# No body of any dialect needs ten. Python could not print or encode values much deeper.
MAX_DEPTH = 100
# A batch of 100 tasks has some 3000. A list of a million wrong ones costs pydantic 4 s and 1 GB for its errors.
MAX_VALUES = 10_000
# PHP writes every slash of base64 as \/: 32 MiB of it have half a million.
MAX_BACKSLASHES = 1_000_000
# Of all texts and brackets together: a prompt of tags has one in ten characters.
MAX_MARKS = 250_000
# 64-bit numbers have up to 20 digits. Long ones take quadratic time, and Python cannot compare them with a float.
MAX_INTEGER_DIGITS = 25
# Python reads a number of 31 MiB for 0.1 s.
MAX_NUMBER_CHARACTERS = 1000
# An error that repeats a name of 31 MiB takes 40 ms.
MAX_NAME_CHARACTERS = 1000
# Shorter texts need no pause.
LONG = 2**18


class InvalidJSON(BadRequest):
    """The text is not JSON."""

    def __init__(self) -> None:
        super().__init__("The body is not valid JSON.")


def parse(text: str | bytes) -> Any:
    """Return the parsed JSON; raises BadRequest naming the limit."""
    content = _loaded(_bounded_text(text))
    _refuse_if_deep(content)
    return content


def _bounded_text(text: str | bytes) -> str:
    """Return text that Python parses in little time and memory; raises BadRequest."""
    try:
        data = as_utf8(text) if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        _pause(data)
        _refuse_if_large(data)
        _pause(data)
        return as_text(data)
    except UnicodeError:
        raise InvalidJSON from None


def _loaded(text: str) -> Any:
    _pause(text)
    try:
        content = json.loads(text, parse_int=_integer, parse_float=_fraction)
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise InvalidJSON from None
    _pause(text)
    return content


def _refuse_if_large(data: bytes) -> None:
    """Raise BadRequest for more values than MAX_VALUES, and for what takes long to count."""
    if count_with_pauses(data, b"\\") > MAX_BACKSLASHES:
        raise BadRequest(f"The JSON contains more than {MAX_BACKSLASHES} backslashes.")
    marks = _marks(data)
    if marks > MAX_MARKS:
        raise BadRequest(f"The JSON contains more than {MAX_MARKS} commas and brackets.")
    if marks > MAX_VALUES and _marks(_outside_of_strings(data)) > MAX_VALUES:
        raise BadRequest(f"The JSON contains more than {MAX_VALUES} values.")


def _marks(data: bytes) -> int:
    """Return at least the number of values: each but the first in a list or an object follows a comma."""
    return sum(count_with_pauses(data, mark) for mark in (b",", b"[", b"{"))


def _outside_of_strings(data: bytes) -> bytes:
    """Return what is between the strings, or the beginning of it if there are more strings than values may have."""
    for escape in (b"\\\\", b'\\"'):
        _pause(data)
        data = data.replace(escape, b"")
    _pause(data)
    # A value has one string, and a key of its own.
    return b"".join(data.split(b'"', 4 * MAX_VALUES)[::2])


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_INTEGER_DIGITS else _fraction(digits)


def _fraction(digits: str) -> float:
    if len(digits) > MAX_NUMBER_CHARACTERS:
        raise BadRequest(f"The JSON contains a number of more than {MAX_NUMBER_CHARACTERS} characters.")
    return float(digits)


def _refuse_if_deep(content: Any) -> None:
    """Raise BadRequest for lists and objects that are nested deeper than MAX_DEPTH."""
    level = _inside([content])
    for _ in range(MAX_DEPTH):
        level = [inner for each in level for inner in _inside(each)]
    if level:
        raise _too_deep()


def _too_deep() -> BadRequest:
    return BadRequest(f"The JSON is nested more than {MAX_DEPTH} levels deep.")


def _inside(value: Any) -> list[Any]:
    """Return the lists and objects inside a list or an object; raises BadRequest for a long name."""
    if isinstance(value, dict) and any(len(name) > MAX_NAME_CHARACTERS for name in value):
        raise BadRequest(f"The JSON contains a name of more than {MAX_NAME_CHARACTERS} characters.")
    values = value.values() if isinstance(value, dict) else value
    return [each for each in values if isinstance(each, list | dict)]


def _pause(text: str | bytes) -> None:
    if len(text) > LONG:
        serve_others()
