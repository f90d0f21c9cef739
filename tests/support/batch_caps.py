"""The batch caps that servers of tests have measured, for those that start later: it takes seconds of both cores."""

import json
from pathlib import Path

NAME = "batch_caps.json"
SMALLEST = str(512 * 512)
# Of an undisturbed measurement: other processes may make a batch look slow.
FULL_CAP = 8


class BatchCaps:
    """What the servers of one process of tests have measured, in a file of its own."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / NAME

    def install(self, state_dir: Path) -> None:
        """Let a server that is not yet started know them."""
        if self._file.exists():
            state_dir.mkdir(mode=0o700)
            (state_dir / NAME).write_bytes(self._file.read_bytes())

    def collect(self, state_dir: Path) -> None:
        """Keep what a server measured undisturbed."""
        measured = state_dir / NAME
        if not measured.exists():
            return
        known = json.loads(self._file.read_text()) if self._file.exists() else {}
        for fingerprint, result in json.loads(measured.read_text()).items():
            if result["sizes"].get(SMALLEST, [0])[0] >= FULL_CAP:
                known.setdefault(fingerprint, result)
        self._file.write_text(json.dumps(known))
