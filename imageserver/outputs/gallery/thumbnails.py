"""Small versions of saved images on disk, made once by whoever asks first."""

import logging
import math
import re
import time
from pathlib import Path

from imageserver.atomic_write import write_atomically
from imageserver.outputs import retention
from imageserver.outputs.folder import SERVED_NAME

logger = logging.getLogger(__name__)

THUMBNAIL = re.compile(r".+\.thumbnail")
UNFINISHED = re.compile(r".+\.part")
SWEEP_INTERVAL_SECONDS = 60.0


class Thumbnails:
    """A folder of WebP files by the names of their images, kept below `max_mb` MiB: the oldest are made again."""

    def __init__(self, folder: Path, *, max_mb: float) -> None:
        self._folder, self._max_mb = folder, max_mb
        self._last_sweep = float("-inf")

    def get(self, name: str) -> bytes | None:
        """Return the thumbnail of an image, None where there is none yet."""
        if not SERVED_NAME.fullmatch(name):
            return None
        try:
            return self._file(name).read_bytes()
        except OSError:
            return None

    def put(self, name: str, content: bytes) -> None:
        """Keep a thumbnail; when the disk refuses, it is made again the next time."""
        try:
            write_atomically(self._file(name), content, private=True)
        except OSError as error:
            logger.warning("A thumbnail cannot be kept: %s", error.strerror)

    def delete(self, names: list[str]) -> None:
        """Delete the thumbnails of images that are gone."""
        for name in names:
            if SERVED_NAME.fullmatch(name):
                self._file(name).unlink(missing_ok=True)

    def maintain(self) -> None:
        """Sweep unless the last sweep was less than a minute ago."""
        if time.monotonic() - self._last_sweep >= SWEEP_INTERVAL_SECONDS:
            self._last_sweep = time.monotonic()
            retention.sweep(
                self._folder, max_mb=self._max_mb, max_age=math.inf, now=time.time(), kept=THUMBNAIL,
                unfinished=UNFINISHED,
            )  # fmt: skip

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.thumbnail"
