"""The one option of AUTOMATIC1111 that a client can change here and that stays: the images' file format.

A file in the state folder, because all workers share it and a restart keeps it; each credential has its own.
"""

import json
from pathlib import Path
from typing import Any

from imageserver.atomic_write import write_atomically
from imageserver.errors import StorageFull

FILE = "automatic1111_options.json"
USUAL_FORMAT = "png"


class StoredOptions:
    """What clients chose."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE

    def samples_format(self, credential: str) -> str:
        """Return the file format that a credential has chosen."""
        return self._read().get(credential, USUAL_FORMAT)

    def choose_samples_format(self, credential: str, name: str) -> None:
        """Keep a credential's choice; raises StorageFull when it cannot be written."""
        chosen = self._read()
        if chosen.get(credential, USUAL_FORMAT) == name:
            return
        try:
            write_atomically(self._path, json.dumps(chosen | {credential: name}).encode())
        except OSError as error:
            raise StorageFull(f"The option cannot be kept: {error.strerror}.") from error

    def _read(self) -> dict[str, str]:
        try:
            content: Any = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(content, dict):
            return {}
        return {credential: name for credential, name in content.items() if isinstance(name, str)}
