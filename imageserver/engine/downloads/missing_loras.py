"""LoRAs that another machine has fetched from a hub before this one joined: fetched here by the job that needs them."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from imageserver.engine.downloads.lora_download import fetch_lora
from imageserver.engine.downloads.unavailable import ModelUnavailable
from imageserver.generation import Lora
from imageserver.lora_folder import open_folder
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

# A hub that cannot be reached is tried for minutes: the next jobs do not wait for that again.
REMEMBERED_SECONDS = 60.0


class MissingLoras:
    """Fetches each LoRA once, whatever number of threads ask for it; another name waits for nobody."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._fetching: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._failed: dict[str, float] = {}

    def fetch(self, lora: Lora) -> None:
        """Fetch a LoRA that a hub has and the folder has not; a failure is logged."""
        if not lora.hub_id or self._is_here(lora):
            return
        with self._fetching[lora.hub_id]:
            failed = self._failed.get(lora.hub_id)
            if self._is_here(lora) or (failed is not None and self._clock() - failed < REMEMBERED_SECONDS):
                return
            try:
                fetch_lora(lora.hub_id, self._settings, lambda phase, sentence, fraction: logger.info(sentence))
            except ModelUnavailable as error:
                self._failed[lora.hub_id] = self._clock()
                logger.warning("LoRA %s: %s", lora.name, error)

    def _is_here(self, lora: Lora) -> bool:
        return open_folder(self._settings).named(lora.name) is not None
