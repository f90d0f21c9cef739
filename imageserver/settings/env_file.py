"""The file `.env`, as editors of every system write it, and the names in it that mean nothing."""

import difflib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from dotenv import dotenv_values
from pydantic import AfterValidator

DEFAULT_ENCODING = "utf-8"


def _with_home(path: Path) -> Path:
    """Return a path with the home folder for ~, which a shell replaces and .env does not."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("this user has no home folder, which ~ stands for") from None


UserPath = Annotated[Path, AfterValidator(_with_home)]


class EnvFileUnusable(Exception):
    """The file exists and cannot be read."""


def encoding_of(file: Path | None) -> str:
    """Return the encoding of a file: UTF-8, or UTF-16 as Windows' Notepad and PowerShell write it.

    Raises EnvFileUnusable.
    """
    # A folder of this name may be a virtual environment.
    if file is None or not file.is_file():
        return DEFAULT_ENCODING
    try:
        content = file.read_bytes()
    except OSError as error:
        raise EnvFileUnusable(f"{file} cannot be read: {error.strerror}.") from error
    # By the marks that JSON has in common with every text that begins with two ASCII characters.
    encoding = json.detect_encoding(content)
    try:
        content.decode(encoding)
    except ValueError as error:
        raise EnvFileUnusable(f"{file} is not a text in UTF-8 or UTF-16: save it as one of these.") from error
    return encoding


def unknown_names(file: Path | None, known: Collection[str]) -> list[str]:
    """Return one sentence per name in a file that is none of the `known` ones; without its value, which may be secret.

    Raises EnvFileUnusable.
    """
    if file is None or not file.is_file():
        return []
    sentences = []
    for name in dotenv_values(file, encoding=encoding_of(file), interpolate=False):
        if name.upper() not in known:
            nearest = difflib.get_close_matches(name.upper(), known, n=1)
            advice = f"did you mean {nearest[0]}?" if nearest else "variables of other programs belong elsewhere."
            sentences.append(f"WARNING {name} in {file.name} is not a setting and has no effect; {advice}")
    return sentences
