"""Measurements of a model on this device, kept for the next time it is loaded."""

import contextlib
import json
import logging
from pathlib import Path
from typing import Any

from imageserver.atomic_write import write_atomically

logger = logging.getLogger(__name__)

# Beyond this number the oldest result is dropped.
MAX_KEPT = 64


class Measurements:
    """One file of the state folder: a JSON object of results by fingerprint, which names everything they depend on."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def find(self, fingerprint: str) -> Any:
        """Return the kept result, or None without a readable one."""
        return self._read().get(fingerprint)

    def keep(self, fingerprint: str, result: Any) -> None:
        """Keep a result; where the file cannot be written, that is logged and it is measured again next time."""
        kept = self._read()
        kept.pop(fingerprint, None)
        kept[fingerprint] = result
        for oldest in list(kept)[:-MAX_KEPT]:
            del kept[oldest]
        try:
            write_atomically(self._file, json.dumps(kept).encode(), private=True)
        except OSError as error:
            logger.warning("%s cannot be kept for the next start: %s", self._file.name, error.strerror)

    def _read(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            content = json.loads(self._file.read_text())
            if isinstance(content, dict):
                return content
        return {}
