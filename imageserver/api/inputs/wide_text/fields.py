"""Decode the text fields of a form, so that only short ones take more than a byte a letter."""

from imageserver.errors import BadRequest

# A prompt of MAX_PROMPT_CHARS at its highest, in any letters as UTF-8; in JSON an escape counts as the bytes of its
# letter, but MAX_BACKSLASHES allows only half as many emoji. With an emoji in it, 19 MiB of other letters took Python
# 60 ms to decode and 76 MiB; this much takes 5 ms. Images are files or base64, which is ASCII.
MAX_WIDE_BYTES = 4 * 2**20


class TooWide(BadRequest):
    """A body has more text with letters beyond ASCII than MAX_WIDE_BYTES."""


class FieldDecoder:
    """Decodes the fields of one form; those with other letters than ASCII have MAX_WIDE_BYTES together."""

    def __init__(self) -> None:
        self._left = MAX_WIDE_BYTES

    def decode(self, data: bytes | bytearray) -> str:
        """Return the text, with U+FFFD for what is not UTF-8; raises TooWide naming the limit."""
        if data.isascii():
            return data.decode("ascii")
        self._left -= len(data)
        if self._left < 0:
            raise too_wide("form")
        return data.decode(errors="replace")


def too_wide(kind: str) -> TooWide:
    """Return the error for too much text in a kind of body."""
    return TooWide(f"The {kind} contains more than {MAX_WIDE_BYTES >> 20} MiB of text with letters beyond ASCII.")
