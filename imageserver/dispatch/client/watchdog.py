"""Notices that the dispatcher hangs or is stopped: it has sent nothing for seconds, though its connection stands."""

import threading
import time
from collections.abc import Callable

from imageserver.dispatch.silence import POLL_SECONDS, REPLACE_SECONDS, SILENT_SECONDS, Silence


class DispatcherWatchdog:
    """Watches one connection after the other, in a thread of its own."""

    def __init__(self, on_silent: Callable[[], None], on_dead: Callable[[], None]) -> None:
        """Call `on_silent` when the dispatcher falls silent, and `on_dead` while that has lasted too long."""
        self._on_silent = on_silent
        self._on_dead = on_dead
        self._silence = Silence(time.monotonic)
        self._is_watching = False
        self._stopped = threading.Event()
        self.is_silent = False

    def start(self) -> None:
        threading.Thread(target=self._watch, name="dispatcher-watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()

    def connected(self) -> None:
        """Begin to watch a new connection."""
        self.record_sign()
        self._is_watching = True

    def disconnected(self) -> None:
        self._is_watching = self.is_silent = False

    def record_sign(self) -> None:
        self._silence.end()
        self.is_silent = False

    def check(self) -> None:
        """Act on the silence so far."""
        silence = self._silence.advance()
        if not self._is_watching or silence <= SILENT_SECONDS:
            return
        if not self.is_silent:
            self.is_silent = True
            self._on_silent()
        if silence > REPLACE_SECONDS:
            self._on_dead()

    def _watch(self) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            self.check()
