"""The keys of API_KEYS_FILE that a server accepted last, for a worker that starts while a line of the file is wrong.

gunicorn's main process remembers older ones only, and keys that were taken out since then must not come back.
"""

import contextlib
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from imageserver.api.credentials.api_keys import Keyring, Owner, Owners, owners_of, require_entries
from imageserver.api.credentials.key_entries import KeyEntry, UnusableEntry, read_entries
from imageserver.atomic_write import write_atomically
from imageserver.client_limits import ClientLimits
from imageserver.settings import Settings

logger = logging.getLogger(__name__)


class AcceptedKeys:
    """The digests of the keys, and their owners, in a private file that all workers of a server share."""

    def __init__(self, file: Path) -> None:
        self._file = file
        # Of this worker, for a file that is removed.
        self._owners: Owners = {}

    def keep(self, entries: Iterable[KeyEntry]) -> None:
        """Write those of API_KEYS_FILE, for the next worker; where that fails, it has none, and this one goes on."""
        owners = owners_of(entry for entry in entries if entry.in_file)
        if not owners:
            return
        self._owners = owners
        try:
            self._write()
        except OSError as error:
            # Older ones are worse than none: a key that was taken out would come back.
            with contextlib.suppress(OSError):
                self._file.unlink()
            logger.warning("The keys could not be kept for workers that start later: %s.", error.strerror)

    def restore(self) -> None:
        """Write them again where the file is gone: a dispatcher that ends removes it, and so does what cleans /tmp."""
        if self._owners and not self._file.exists():
            with contextlib.suppress(OSError):
                self._write()

    def read(self) -> Owners:
        """Return what was written last; raises OSError or ValueError where there is nothing of use."""
        content = json.loads(self._file.read_bytes())
        try:
            self._owners = {
                bytes.fromhex(digest): Owner(each["name"], each["role"], ClientLimits(**each["limits"]))
                for digest, each in content.items()
            }
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{self._file} does not contain keys.") from error
        return self._owners

    def _write(self) -> None:
        content = json.dumps({digest.hex(): asdict(owner) for digest, owner in self._owners.items()})
        write_atomically(self._file, content.encode(), private=True)


def open_worker_keyring(settings: Settings, accepted: AcceptedKeys) -> Keyring:
    """Return the keys of a worker; where API_KEYS_FILE is wrong by now, its keys are those that were accepted last.

    Otherwise gunicorn would start a worker that exits again and again. Where it is not known which were accepted, none
    of the file opens this worker until the file is right. Raises SystemExit for a wrong key in API_KEYS.
    """
    try:
        entries = read_entries(settings)
    except UnusableEntry as error:
        keyring = Keyring(require_entries(settings.model_copy(update={"api_keys_file": None})), locked=True)
        try:
            keyring.accept(accepted.read())
            logger.error("%s The keys stay as they were.", error)
        except (OSError, ValueError):
            logger.error("%s No key of that file opens this worker until the file is right.", error)
        return keyring
    accepted.keep(entries)
    return Keyring(entries, locked=settings.asks_for_keys)
