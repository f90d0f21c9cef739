"""A real Ray cluster on loopback addresses: a server that is its head, and machines that join and are broken."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.support.paths import ROOT

# Ray replaces 127.0.0.1 by the machine's own address.
HEAD_ADDRESS = "127.0.0.2"
TOKEN = "cluster-token-of-the-tests"
PR_SET_PDEATHSIG = 1


class JoinedMachine:
    """What another machine would be: a node that offers one engine, run as `--join` runs it."""

    def __init__(self, folder: Path, address: str, head: str, **settings: str) -> None:
        self.address = address
        self.log_file = folder / f"{address}.log"
        self._environment = os.environ | {
            "CLUSTER_ADDRESS": address, "CLUSTER_PORT": head.rpartition(":")[2], "CLUSTER_TOKEN": TOKEN,
            "CLUSTER_NODE_PORT": "0",
            "STATE_DIR": str(folder / address), "ENGINE_MODULE": "tests.support.fake_engine", "DEVICE": "cpu",
            "OFFLINE": "1", "PYTHONUNBUFFERED": "1",
        } | settings  # fmt: skip
        self._command = [sys.executable, "-m", "imageserver.cluster", "--join", head]
        self.start()

    def start(self) -> None:
        """Join the cluster, without waiting for it."""
        with self.log_file.open("ab") as output:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=output, stderr=output, start_new_session=True,
                preexec_fn=_end_with_tests,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """Return the node: what `ray start` has started, and itself, but not what keeps it running."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def engines(self) -> list[psutil.Process]:
        """Return the engine processes that run there."""
        return [each for each in self.processes() if "tests.support.fake_engine" in each.cmdline()]

    def signal_node(self, number: int) -> None:
        """Send a signal to every process of the node."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        """Lose the machine: every process at once, and what would start them again first."""
        family = self.processes()
        for process in [self.process, *family]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(family, timeout=10)
        self.log_file.unlink()

    def leave(self, timeout: float = 30.0) -> float:
        """Press Ctrl+C, and return after how many seconds the machine has left."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout)
        return time.monotonic() - began


def _end_with_tests() -> None:
    """Let the kernel end it with the tests, however they end: a machine that joins tries for ever by design."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
