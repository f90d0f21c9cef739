"""The secrets that a server read at its start or at its last reload, for all the workers that it starts later.

A file that is damaged or removed meanwhile would end one worker after another, or give a new one another secret than
those beside it have: addresses that one of them signed would open in some workers only.
"""

import contextlib
import logging
from pathlib import Path

from imageserver.api.credentials.secret_file import PROVENANCE_SECRET, SECRET_BYTES, URL_SECRET, read_secret
from imageserver.atomic_write import write_atomically
from imageserver.settings import Settings

logger = logging.getLogger(__name__)


class AcceptedSecrets:
    """Knows secrets by their files; gunicorn's main process hands it to its workers as they are forked."""

    def __init__(self) -> None:
        self._accepted: dict[Path, bytes] = {}

    def accept(self, settings: Settings) -> None:
        """Read the secrets that workers need, and new ones where their files are; raises SystemExit."""
        names = [PROVENANCE_SECRET, *([URL_SECRET] if settings.asks_for_keys else [])]
        self._accepted |= {_file(settings, name): read_secret(settings, name) for name in names}

    def read(self, settings: Settings, name: str) -> bytes:
        """Return a secret as it was accepted, or else read it; raises SystemExit for one that was not and is damaged.

        Its damaged file is written again. One that is gone is not: whoever deletes it wants another after a restart.
        """
        file = _file(settings, name)
        if file not in self._accepted:
            return read_secret(settings, name)
        secret = self._accepted[file]
        if _is_damaged(file):
            logger.error("%s in STATE_DIR was damaged: the server goes on with what it had read, and mends it.", name)
            with contextlib.suppress(OSError):
                write_atomically(file, secret, private=True)
        return secret


def _file(settings: Settings, name: str) -> Path:
    return settings.resolve(settings.state_dir) / name


def _is_damaged(file: Path) -> bool:
    try:
        return file.stat().st_size != SECRET_BYTES
    except OSError:
        return False
