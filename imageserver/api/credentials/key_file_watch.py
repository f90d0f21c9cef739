"""Reads API_KEYS_FILE again when it has changed, in every worker, so that no key needs a restart."""

import logging
from collections.abc import Callable

import gevent

from imageserver.api.credentials.accepted_keys import AcceptedKeys, open_worker_keyring
from imageserver.api.credentials.key_entries import UnusableEntry, read_entries
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0


class KeyFileWatch:
    """Keeps a keyring as API_KEYS_FILE says; a file with a wrong line changes nothing.

    Nothing is kept for later workers once it no longer `serves`: the dispatcher that ends has removed what was kept.
    """

    def __init__(self, settings: Settings, accepted: AcceptedKeys, serves: Callable[[], bool]) -> None:
        """Read the keys; raises SystemExit for a wrong one in API_KEYS."""
        self._settings = settings
        self._accepted = accepted
        self._serves = serves
        # Before the file is read: what changes meanwhile is read again.
        self._used = self._seen = self._stamp()
        self.keyring = open_worker_keyring(settings, accepted)

    def start(self) -> None:
        if self._settings.api_keys_file is not None:
            gevent.spawn(self._watch_forever)

    def check(self) -> None:
        """Read the file again if it has changed and was the same at the last check: nobody is still writing it."""
        if self._serves():
            self._accepted.restore()
        stamp, before = self._stamp(), self._seen
        self._seen = stamp
        if stamp == self._used or stamp != before:
            return
        self._used = stamp
        try:
            entries = read_entries(self._settings)
        except UnusableEntry as error:
            logger.error("%s The keys stay as they were.", error)
            return
        self.keyring.replace(entries)
        if self._serves():
            self._accepted.keep(entries)
        logger.info("API_KEYS_FILE was read again: %d keys.", len(entries))

    def _watch_forever(self) -> None:
        while True:
            gevent.sleep(INTERVAL_SECONDS)
            self.check()

    def _stamp(self) -> tuple[int, ...] | None:
        """Return what changes with the file's content, None for a file that is not there."""
        if self._settings.api_keys_file is None:
            return None
        try:
            status = self._settings.resolve(self._settings.api_keys_file).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
