"""Pack several images into one ZIP file."""

import io
import zipfile
from collections.abc import Sequence


def zip_images(named: Sequence[tuple[str, bytes]]) -> bytes:
    """Return a ZIP file of (name, bytes) pairs, stored uncompressed: images are compressed already.

    Raises ValueError when two images have the same name.
    """
    if len({name for name, _ in named}) < len(named):
        raise ValueError("Every image in an archive needs a unique name.")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in named:
            archive.writestr(name, data)
    return buffer.getvalue()
