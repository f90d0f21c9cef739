"""Parse AUTOMATIC1111's infotext, from any program, into the names and values that its own API returns."""

import json
import re
from collections.abc import Iterator

NEGATIVE = "Negative prompt:"
# A name, a colon, and a value that ends at the next comma; one with commas inside is quoted as JSON.
SETTING = re.compile(r'\s*(\w[\w \-/]*):\s*("(?:[^"\\]|\\.)*"|[^,]*)\s*(?:,|$)')
SIZE = re.compile(r"(\d+)x(\d+)")
# A last line with this many settings is a line of settings; a prompt rarely has as many.
MIN_SETTINGS = 3
# The pattern of a setting takes a hundred bytes for each character of a quoted value.
MAX_CHARACTERS = 500_000


def parse_infotext(text: str) -> dict[str, str]:
    """Return `Prompt`, `Negative prompt` and every setting as text; a size is split into `Size-1` and `Size-2`.

    Any other text, and one of more than MAX_CHARACTERS, counts as a prompt; an empty one gives nothing.
    """
    lines = text.strip().split("\n")
    if len(text) > MAX_CHARACTERS:
        return {"Prompt": _joined(lines), "Negative prompt": ""}
    if lines == [""]:
        return {}
    settings = list(_settings(lines[-1]))
    if len(settings) < MIN_SETTINGS:
        settings = []
    prompt, negative = _prompts(lines[:-1] if settings else lines)
    parsed = {"Prompt": prompt, "Negative prompt": negative}
    for name, value in settings:
        if size := SIZE.fullmatch(value):
            parsed[f"{name}-1"], parsed[f"{name}-2"] = size.groups()
        else:
            parsed[name] = value
    return parsed


def _settings(line: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values of a line, without the parts between commas that are not settings."""
    position = 0
    while position < len(line):
        # Match, not search: a search would try a long word from each of its letters.
        if found := SETTING.match(line, position):
            yield found[1], _unquoted(found[2].strip())
            position = found.end()
        else:
            comma = line.find(",", position)
            position = len(line) if comma < 0 else comma + 1


def _prompts(lines: list[str]) -> tuple[str, str]:
    for index, line in enumerate(lines):
        if line.strip().startswith(NEGATIVE):
            negative = [line.strip().removeprefix(NEGATIVE), *lines[index + 1 :]]
            return _joined(lines[:index]), _joined(negative)
    return _joined(lines), ""


def _joined(lines: list[str]) -> str:
    return "\n".join(line.strip() for line in lines)


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value
