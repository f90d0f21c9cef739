"""Ends the engine process when nobody has needed it for IDLE_UNLOAD seconds, and starts it for the next request."""

import asyncio
import logging
from collections.abc import Callable

from imageserver.dispatch.engine_process import EngineProcess

logger = logging.getLogger(__name__)

MAX_POLL_SECONDS = 1.0


class IdleUnload:
    """Knows when the engine was last needed; 0 `seconds` never end it."""

    def __init__(self, seconds: float, engine: EngineProcess, is_busy: Callable[[], bool]) -> None:
        """`is_busy` tells whether anything runs or waits."""
        self._seconds = seconds
        self._engine = engine
        self._is_busy = is_busy
        self._clock = asyncio.get_running_loop().time
        self._used = self._clock()
        self.count = 0

    def record_use(self) -> None:
        """Begin to count again, and start the engine where it has been ended."""
        self._used = self._clock()
        self._engine.wake()

    async def watch(self) -> None:
        """End the engine whenever it is due."""
        while self._seconds:
            await asyncio.sleep(min(MAX_POLL_SECONDS, self._seconds / 4))
            if not self._engine.is_ready or self._is_busy():
                self._used = self._clock()
            elif self._clock() - self._used >= self._seconds:
                self.count += 1
                sentence = f"The engine has ended after {self._seconds:g} s without a request; the next one starts it."
                logger.info("%s", sentence)
                self._engine.rest(sentence)
