"""Finished answers on disk, shared by all workers: a repeated request costs the device nothing.

The default seed is 42, so that a repeated prompt is the same request.
"""

import contextlib
import hashlib
import logging
import math
import os
import re
import time
from pathlib import Path
from typing import Any

import msgspec

from imageserver.atomic_write import write_atomically
from imageserver.generation import Outcome
from imageserver.outputs import retention

logger = logging.getLogger(__name__)

ANSWER = re.compile(r".+\.answer")
UNFINISHED = re.compile(r".+\.part")
# A sweep reads the status of every file, which after every answer would cost more than the answers.
SWEEP_INTERVAL_SECONDS = 10.0


class Answer(msgspec.Struct, frozen=True):
    """A finished generation: how it went, its encoded files in order, and the digest of the request it answers."""

    outcome: Outcome
    files: tuple[bytes, ...]
    request: str = ""


_decoder = msgspec.msgpack.Decoder(Answer)


def key_of(*parts: Any) -> str:
    """Return the key of everything that determines the bytes of an answer; parts are dataclasses or plain values."""
    return hashlib.sha256(msgspec.msgpack.encode(parts)).hexdigest()


class OutputCache:
    """A folder of answers, kept below `max_mb` MiB by deleting the least recently used ones."""

    def __init__(self, folder: Path, *, max_mb: float) -> None:
        self._folder = folder
        self._max_mb = max_mb
        self._last_sweep = 0.0

    def get(self, key: str) -> Answer | None:
        """Return the answer under `key`, or None; a damaged file is removed."""
        if not self._max_mb:
            return None
        file = self._file(key)
        try:
            answer = _decoder.decode(file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            logger.warning("A cached answer cannot be read and is dropped: %s", error)
            with contextlib.suppress(OSError):
                file.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(file)
        return answer

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer; when the disk refuses, only the entry is lost."""
        if not self._max_mb:
            return
        try:
            write_atomically(self._file(key), msgspec.msgpack.encode(answer), private=True)
        except OSError as error:
            logger.warning("An answer cannot be cached: %s", error.strerror)
            return
        now = time.monotonic()
        if now - self._last_sweep > SWEEP_INTERVAL_SECONDS:
            self._last_sweep = now
            self.sweep()

    def sweep(self) -> None:
        """Delete the least recently used answers down to the limit, and the leftovers of killed workers."""
        retention.sweep(
            self._folder, max_mb=self._max_mb, max_age=math.inf, now=time.time(), kept=ANSWER, unfinished=UNFINISHED
        )

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.answer"
