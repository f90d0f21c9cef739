"""Styles: words that a click on the web page adds to a prompt, in its languages, from STYLES_FILE or the package."""

import logging
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from imageserver.settings import Settings

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).resolve().parent / "styles.toml"
# All of them are part of what the page begins with.
MAX_STYLES = 60
MAX_CHARS = 500

Sentence = Annotated[str, Field(min_length=1, max_length=MAX_CHARS)]


class Translated(BaseModel):
    """A text in each language of the page."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    en: Sentence
    zh: Sentence


def _in_every_language(value: Any) -> Any:
    return {"en": value, "zh": value} if isinstance(value, str) else value


Text = Annotated[Translated, BeforeValidator(_in_every_language)]


class Style(BaseModel):
    """A style: its name as the page shows it, and the words that follow a prompt of that language."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Text
    words: Text


Styles = Mapping[str, Style]
_STYLES = TypeAdapter(Annotated[dict[Sentence, Style], Field(max_length=MAX_STYLES)])


class UnusableStyles(Exception):
    """A file of styles that cannot be read or has a mistake, in one sentence."""


def require_styles(settings: Settings) -> None:
    """Raise SystemExit with one sentence if the file of styles cannot be used: for the start of a server."""
    try:
        _own_styles(settings)
    except UnusableStyles as error:
        raise SystemExit(str(error)) from None


def read_styles(settings: Settings) -> Styles:
    """Return the styles by their keys in the file, in its order; those of the package if it is broken by now."""
    try:
        return _own_styles(settings)
    except UnusableStyles as error:
        logger.warning("%s The web page has the styles of the package instead.", error)
        return _styles_in(SHIPPED)


def _own_styles(settings: Settings) -> Styles:
    file = settings.resolve(settings.styles_file)
    try:
        if settings.styles_file == Settings.model_fields["styles_file"].default and not file.exists():
            file = SHIPPED
        return _styles_in(file)
    except OSError as error:
        complaint = f"it cannot be read: {error.strerror}."
    except ValidationError as error:
        found = error.errors()[0]
        complaint = f"{'.'.join(map(str, found['loc'])) or 'the file'} is not valid: {found['msg']}."
    except (ValueError, RecursionError) as error:  # no TOML, or no UTF-8
        complaint = f"it is not valid TOML: {str(error).splitlines()[0]}."
    raise UnusableStyles(f"STYLES_FILE={settings.styles_file} cannot be used: {complaint}")


def _styles_in(file: Path) -> Styles:
    # Windows' editors begin a file with a byte order mark.
    return _STYLES.validate_python(tomllib.loads(file.read_text(encoding="utf-8-sig")))
