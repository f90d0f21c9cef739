"""Another rank's process as rank 0 sees it: started, listened to, and killed when it is silent."""

import contextlib
import json
import logging
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from imageserver.engine.card_group.messages import FromRank, RankDone, RankFailed, RankSign, ToRank, decode_from_rank
from imageserver.protocol.channel import Channel
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

RANK_MODULE = "imageserver.engine.rank"
# Imports and the reading of weights hold a process up longer than a forward.
STARTING_FACTOR = 6


class CardLost(Exception):
    """A rank is dead or silent, or the ranks are out of step; the message says which and why."""


@dataclass(frozen=True)
class RankConfig:
    """What a rank is told on its standard input; the file descriptors are inherited."""

    device: str
    threads: int
    sign_seconds: float
    connection: int
    store: int
    settings: dict[str, Any]

    def write(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def read_rank_config() -> tuple[RankConfig, Settings]:
    config = RankConfig(**json.loads(sys.stdin.buffer.read()))
    return config, Settings.model_validate(config.settings)


class RankProcess:
    """One rank; what it answers waits in order until it is asked for."""

    def __init__(self, device: str, threads: int, settings: Settings, store: int, silent_seconds: float) -> None:
        """Start it; raises OSError. It is lost after `silent_seconds` without a sign of life, later while it starts."""
        self.device = device
        self.loss = ""
        self.on_loss: Callable[[], None] = lambda: None
        self._lost = threading.Event()
        self._answers: queue.SimpleQueue[RankDone | RankFailed | None] = queue.SimpleQueue()
        self._silent_seconds = silent_seconds
        self._connection, theirs = socket.socketpair()
        self.starts()
        config = RankConfig(
            device, threads, silent_seconds / 10, theirs.fileno(), store, settings.model_dump(mode="json")
        )
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", RANK_MODULE], stdin=subprocess.PIPE, pass_fds=(theirs.fileno(), store)
            )
        assert self._process.stdin is not None
        try:
            with self._process.stdin as channel:
                channel.write(config.write())
        except OSError as error:
            logger.warning("Card %s: its process has not read its configuration: %s", device, error)
        self._channel = Channel(self._connection, decode_from_rank)
        threading.Thread(target=self._read, name=f"rank {device}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: ToRank, raw: bytes = b"") -> None:
        """Ask it for something; raises CardLost."""
        try:
            self._channel.send(message, raw)
        except OSError as error:
            raise CardLost(self._loss_or(f"card {self.device} cannot be reached: {error}")) from error

    def answer(self) -> RankDone | RankFailed:
        """Wait for the answer to what it was asked first; raises CardLost."""
        found = self._answers.get()
        if found is None:
            self._answers.put(None)
            raise CardLost(self.loss)
        return found

    def try_to_send(self, message: ToRank) -> None:
        """Ask it for something; its loss is noticed when it should answer."""
        with contextlib.suppress(CardLost):
            self.send(message)

    def failure(self) -> str:
        """Wait for its next answer, and return why it could not do what it was asked; empty where it has."""
        try:
            answer = self.answer()
        except CardLost as error:
            return str(error)
        return answer.sentence if isinstance(answer, RankFailed) else ""

    def is_lost_within(self, seconds: float) -> bool:
        """Wait so long for its loss to be noticed."""
        return self._lost.wait(seconds)

    def starts(self, *, over: bool = False) -> None:
        """Allow for a longer silence while it imports or loads something, until that is `over`."""
        self._connection.settimeout(self._silent_seconds * (1 if over else STARTING_FACTOR))

    def end(self) -> None:
        """Kill it and wait for its end."""
        self._process.kill()
        self._process.wait()
        self._channel.close()

    def _read(self) -> None:
        try:
            while True:
                message, _ = self._receive()
                if not isinstance(message, RankSign):
                    self._answers.put(message)
        except EOFError as error:
            silent = isinstance(error.__cause__, TimeoutError)
            self.loss = f"card {self.device} {'has given no sign of life' if silent else 'has lost its process'}"
            # Whoever waits for it in a forward is free once it is dead.
            self._process.kill()
            self._answers.put(None)
            self._lost.set()
            self.on_loss()

    def _receive(self) -> tuple[FromRank, bytes]:
        message, raw = self._channel.receive()
        return message, raw  # type: ignore[return-value]

    def _loss_or(self, sentence: str) -> str:
        return self.loss or sentence
