"""The one AUTOMATIC1111 option that is stored: the file format of images, per credential.

Stored in a file in the state folder, which all workers share and which survives a restart.
"""

import json
from pathlib import Path
from typing import Any

from imageserver.atomic_write import write_atomically
from imageserver.errors import StorageFull

FILE = "automatic1111_options.json"
DEFAULT_FORMAT = "png"


class StoredOptions:
    """The stored options of all credentials."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE

    def samples_format(self, credential: str) -> str:
        return self._read().get(credential, DEFAULT_FORMAT)

    def set_samples_format(self, credential: str, name: str) -> None:
        """Store the file format of a credential; raises StorageFull when it cannot be written."""
        chosen = self._read()
        if chosen.get(credential, DEFAULT_FORMAT) == name:
            return
        try:
            write_atomically(self._path, json.dumps(chosen | {credential: name}).encode(), private=True)
        except OSError as error:
            raise StorageFull(f"The option cannot be stored: {error.strerror}.") from error

    def _read(self) -> dict[str, str]:
        try:
            content: Any = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(content, dict):
            return {}
        return {credential: name for credential, name in content.items() if isinstance(name, str)}
