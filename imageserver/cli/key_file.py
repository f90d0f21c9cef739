"""The file of API keys, to which a line is added; what it holds already stays as it is."""

from pathlib import Path

from imageserver.api.credentials.key_entries import UnusableEntry, read_entries
from imageserver.cli.failure import CommandFailed
from imageserver.private_files import PRIVATE_FILE, make_private_folder
from imageserver.settings import Settings


def append_entry(file: Path, line: str, settings: Settings) -> None:
    """Add a line, unless the server would then refuse the file; a new file is for this user alone."""
    try:
        make_private_folder(file.parent)
        before = file.read_bytes() if file.exists() else b""
        separator = b"" if not before or before.endswith(b"\n") else b"\n"
        # Not replaced: its owner has chosen its mode, and it may be a link.
        file.touch(mode=PRIVATE_FILE)
        with file.open("ab") as keys:
            keys.write(separator + line.encode() + b"\n")
            keys.flush()
            try:
                read_entries(settings.model_copy(update={"api_keys_file": file.absolute()}))
            except UnusableEntry as error:
                keys.truncate(len(before))
                raise CommandFailed(str(error)) from None
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error.strerror}.") from None
