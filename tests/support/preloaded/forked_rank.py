"""Ranks of a group of cards that are forked: importing what they need takes each of them four seconds of a core."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from imageserver.engine.card_group import rank_process
from tests.support.preloaded.protocol import IS_SUPPORTED
from tests.support.preloaded.settings import start_forker


@contextlib.contextmanager
def forked_ranks() -> Iterator[None]:
    """Let ranks be forked inside this block, where the system can."""
    with pytest.MonkeyPatch.context() as patch:
        if IS_SUPPORTED:
            popen = SimpleNamespace(Popen=ForkedRank, PIPE=subprocess.PIPE)
            patch.setattr(rank_process, "subprocess", popen)
        yield


class ForkedRank:
    """Stands for the `subprocess.Popen` of a rank."""

    def __init__(self, command: Sequence[str], *, stdin: int, pass_fds: Sequence[int]) -> None:
        numbers = (0, 1, 2, *pass_fds)
        request = json.dumps({"module": command[-1], "numbers": numbers}).encode()
        theirs, ours = os.pipe()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(str(_forker()))
            socket.send_fds(connection, [request], [theirs, *numbers[1:]])
            self.pid = int(connection.recv(16))
        os.close(theirs)
        self.stdin = os.fdopen(ours, "wb")
        self._process = os.pidfd_open(self.pid)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def wait(self) -> None:
        """Wait until it has ended, and nothing is left of it."""
        select.select([self._process], [], [])
        while psutil.pid_exists(self.pid):
            time.sleep(0.001)


@cache
def _forker() -> Path:
    return start_forker("rank_forker")
