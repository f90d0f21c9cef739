"""The key that a command sends: from a file or the environment, never from a flag, which other users would see."""

import os
from pathlib import Path

from imageserver.cli.failure import CommandFailed
from imageserver.cli.flags.server_flags import KEY_VARIABLE


def read_key(file: Path | None) -> str:
    """Return the key, empty for none; raises CommandFailed with a sentence that does not contain it."""
    source = KEY_VARIABLE if file is None else f"--key-file {file}"
    try:
        key = (os.environ.get(KEY_VARIABLE, "") if file is None else file.read_text(encoding="utf-8-sig")).strip()
    except OSError as error:
        raise CommandFailed(f"{source} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CommandFailed(f"{source} is not a text file.") from None
    if file is not None and not key:
        raise CommandFailed(f"{source} contains no key.")
    if any(not "\x21" <= character <= "\x7e" for character in key):
        raise CommandFailed(f"{source} contains more than a key: it is one word of ASCII characters.")
    return key
