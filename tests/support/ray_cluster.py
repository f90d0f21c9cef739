"""A real Ray cluster on loopback addresses: a server that is its head, and machines that join and are broken."""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from tests.support.paths import ROOT
from tests.support.server import Server, free_port

# Ray replaces 127.0.0.1 by the machine's own address.
HEAD_ADDRESS = "127.0.0.2"
ADDRESSES = ("127.0.0.3", "127.0.0.4")
TOKEN = "cluster-token-of-the-tests"
PR_SET_PDEATHSIG = 1


class JoinedMachine:
    """What another machine would be: a node that offers one engine, run as `--join` runs it."""

    def __init__(self, folder: Path, address: str, head: str, **settings: str) -> None:
        self.address = address
        self.log_file = folder / f"{address}.log"
        self.environment = os.environ | {
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
                self._command, cwd=ROOT, env=self.environment, stdout=output, stderr=output, start_new_session=True,
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

    def signal_node(self, number: int, *, spared: psutil.Process | None = None) -> None:
        """Send a signal to every process of the node, but not to the one that is spared."""
        for process in self.processes():
            if process == spared:
                continue
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
        self.log_file.unlink(missing_ok=True)

    def leave(self, timeout: float = 30.0) -> float:
        """Press Ctrl+C, and return after how many seconds the machine has left."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout)
        return time.monotonic() - began


class Cluster:
    """A server that is the head, and machines that offer one engine each."""

    def __init__(self, folder: Path, machines: int = 2, command: list[str] | None = None, **settings: str) -> None:
        self.port = str(free_port())
        self.head = f"{HEAD_ADDRESS}:{self.port}"
        self.folder = folder
        self.settings = {
            "CLUSTER": "head", "CLUSTER_ADDRESS": HEAD_ADDRESS, "CLUSTER_PORT": self.port, "CLUSTER_NODE_PORT": "0",
            "CLUSTER_TOKEN": TOKEN, "STEP_TIMEOUT": "8", "DEVICES": "none",
        } | settings  # fmt: skip
        self.server = Server(folder, command=command, **self.settings)
        self.machines: list[JoinedMachine] = []
        try:
            self.server.wait_until_alive(60)
        except AssertionError:
            self.stop()
            raise
        self.machines = [JoinedMachine(folder, address, self.head) for address in ADDRESSES[:machines]]

    def heal(self) -> None:
        """Wait until both machines have an engine that is ready."""
        for machine in self.machines:
            if machine.process.poll() is not None:
                machine.start()
        self.server.wait_for(lambda: self.free_seats() == len(self.machines), "an engine on every machine", 60)

    def free_seats(self) -> int:
        """Return how many engines could begin with an image now."""
        found = re.search(r"seats_free ([\d.]+)", self.server.get("/metrics").text)
        return int(float(found[1])) if found else 0

    def engines_ready(self) -> int:
        """Return how many machines have an engine that can generate, busy or not."""
        return sum(device["status"] == "healthy" for device in self.server.health()["devices"])

    def busy_machine(self) -> JoinedMachine:
        """Return the machine whose engine works on the one image that is being generated."""
        self.server.wait_until_active()
        self.server.wait_for(lambda: self.newest_job()["step"] > 1, "the first steps")
        address = self.newest_job()["device"].split()[0]
        return next(machine for machine in self.machines if machine.address == address)

    def answers_to(self, request: int) -> int:
        """Return how often a request was completed, by its own events: a stream of them ends with the first end."""
        completed, last = 0, "0"
        while True:
            answer = self.server.get(f"/v1/jobs/{request}/events", headers={"Last-Event-ID": last})
            events = re.findall(r"^event: (\w+)\nid: (\d+)$", answer.text, re.MULTILINE)
            if events[-1][1] == last:  # an end that is not followed by any event is sent again
                return completed
            completed += sum(name == "completed" for name, _ in events)
            last = events[-1][1]

    def images(self) -> int:
        """Return how many requests were answered with an image since the server started."""
        processed: int = self.server.get("/info").json()["total_requests_processed"]
        return processed

    def newest_job(self) -> dict[str, Any]:
        return self.server.get("/v1/jobs").json()["data"][0]

    def stand_ins(self) -> list[psutil.Process]:
        """Return the processes that stand for far engines."""
        return [each for each in self.server.processes() if "imageserver.cluster.stand_in" in each.cmdline()]

    def stop(self) -> None:
        try:
            self.server.stop()
        finally:
            for machine in self.machines:
                machine.kill()


def _end_with_tests() -> None:
    """Let the kernel end it with the tests, however they end: a machine that joins tries for ever by design."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
