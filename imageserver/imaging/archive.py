"""Pack several pictures into one ZIP file."""

import io
import zipfile
from collections.abc import Sequence


def zip_pictures(named: Sequence[tuple[str, bytes]]) -> bytes:
    """Return a ZIP file of (name, bytes) pairs, stored as they are: pictures are compressed already.

    Raises ValueError when two pictures have the same name.
    """
    if len({name for name, _ in named}) < len(named):
        raise ValueError("Every picture in an archive needs a name of its own.")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in named:
            archive.writestr(name, data)
    return buffer.getvalue()
