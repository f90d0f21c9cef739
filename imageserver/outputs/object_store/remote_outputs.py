"""The worker's side of a store: asks its store process, and starts another one where that has died or hangs."""

import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import cast

from imageserver.errors import BY_CODE, StorageUnavailable
from imageserver.outputs.naming import moment_of
from imageserver.outputs.object_store.keeper import SWEEP_INTERVAL_SECONDS
from imageserver.outputs.object_store.messages import (
    Answer,
    Delete,
    Maintain,
    Maintained,
    Part,
    Question,
    Read,
    Refused,
    Save,
    Saved,
    decode_answer,
)
from imageserver.outputs.store import StoredImage
from imageserver.protocol.channel import Address, Channel
from imageserver.settings import IS_CHECKOUT, WORKING_DIR, Settings

MODULE = "imageserver.outputs.object_store"
# What the store process reads; keys stay here.
TRAVELLING = {
    "output_url", "output_redirect", "output_unsent_mb", "tmp_max_mb", "tmp_max_age", "state_dir", "log_level",
    "log_format", "log_file", "log_file_max_mb", "log_prompts",
}  # fmt: skip
# Two operations of the store may each take ten.
ANSWER_SECONDS = 30.0


class RemoteOutputs:
    """The images of OUTPUT_URL; all methods but `start` may wait for the store, so they belong on a native thread."""

    def __init__(self, settings: Settings, socket_path: Path | None) -> None:
        """`socket_path` is where the store process is to listen; None for a TCP port that it chooses."""
        self._settings = settings
        self._address = Address(path=str(socket_path) if socket_path else None, port=None, key=secrets.token_hex(32))
        self._process: subprocess.Popen[bytes] | None = None
        # What did not answer: late questions to a process that is gone must not end its successor.
        self._silent: subprocess.Popen[bytes] | None = None
        self.obstacle = ""
        # The store's own rules know none, nor do other servers of the same folder.
        self.favourites: Collection[str] | None = ()

    @property
    def keeps_favourites(self) -> bool:
        return False

    def start(self) -> None:
        """Start the process unless it runs and answers."""
        if self._process is not None:
            if self._process.poll() is None and self._silent is not self._process:
                return
            self.stop()
        path = self._address.path
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE, *([path] if path else [])], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            # Ctrl+C in a terminal is for the server, whose last images are still to be saved.
            start_new_session=True,
            cwd=WORKING_DIR, env=os.environ if IS_CHECKOUT else os.environ | {"PYTHONSAFEPATH": "1"},
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        settings = self._settings.model_dump_json(include=TRAVELLING)
        process.stdin.write(f"{self._address.key}\n{settings}\n".encode())
        process.stdin.flush()
        port = process.stdout.readline()
        self._address = Address(path=path, port=int(port or 0) or None, key=self._address.key)
        # Only now: before it listens, no question is one to it.
        self._process = process

    def stop(self) -> None:
        """Kill the process; what it was saving is answered with 503."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):
                    pipe and pipe.close()

    def save(self, data: bytes, *, stem: str, extension: str) -> str:
        """Keep an image and return its name; raises StorageFull, StorageUnavailable."""
        question = Save(key=self._address.key, stem=stem, extension=extension, size=len(data))
        answer, _ = self._ask(question, data)
        assert isinstance(answer, Saved)
        self.obstacle = answer.obstacle
        return answer.name

    def open_image(self, name: str) -> StoredImage:
        """Return a saved image; raises NotFound, StorageUnavailable."""
        answer, beginning = self._ask(Read(key=self._address.key, name=name, address_will_do=True))
        assert isinstance(answer, Part)
        return StoredImage(name, answer.size, beginning, partial(self._read, name), answer.address)

    def delete(self, name: str) -> None:
        """Delete an image, if it is there; raises StorageUnavailable."""
        self._ask(Delete(key=self._address.key, name=name))

    def is_gone(self, name: str) -> bool:
        """Return whether the store has deleted an image by now for its age."""
        return bool(self.missing([name]))

    def missing(self, names: Collection[str]) -> list[str]:
        """Return the names that the store has deleted by now for their age, as they themselves tell it."""
        oldest = time.time() - self._settings.tmp_max_age - SWEEP_INTERVAL_SECONDS
        return [name for name in names if moment_of(name) < oldest]

    def maintain(self) -> None:
        """Find out what keeps images from the store; its own process sends and deletes."""
        try:
            answer, _ = self._ask(Maintain(key=self._address.key))
        except StorageUnavailable as error:
            self.obstacle = error.sentence
        else:
            assert isinstance(answer, Maintained)
            self.obstacle = answer.obstacle

    def _read(self, name: str, start: int) -> bytes:
        return self._ask(Read(key=self._address.key, name=name, start=start))[1]

    def _ask(self, question: Question, data: bytes = b"") -> tuple[Answer, bytes]:
        asked = self._process
        try:
            connection = self._address.connect()
            connection.settimeout(ANSWER_SECONDS)
            with contextlib.closing(Channel(connection, decode_answer)) as channel:
                channel.send(question, data)
                received, raw = channel.receive()
                answer = cast(Answer, received)
        except (OSError, EOFError) as error:
            self._silent = asked
            sentence = "The process that keeps saved images does not answer; it is started again."
            raise StorageUnavailable(sentence, retry_after=2) from error
        if isinstance(answer, Refused):
            raise BY_CODE[answer.code](answer.sentence, retry_after=answer.retry_after)
        return answer, raw
