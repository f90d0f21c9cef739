"""One running server: its processes, its log, its memory."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import requests

from benchmarks.conditions import Conditions
from benchmarks.servers.kind import Kind

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 300.0
STOP_TIMEOUT = 20.0
# Children inherit it: this is how processes that have left their parent are found.
MARK = "BENCHMARK_SERVER"


class ServerProcess:
    """A server of some kind on a free port of the loopback; `folder` keeps its log, state and trace."""

    def __init__(self, kind: Kind, conditions: Conditions, folder: Path) -> None:
        self.kind = kind
        self.port = free_port()
        self.trace = conditions.trace
        self.is_warm = False
        self._log = folder / "server.log"
        self._mark = f"{os.getpid()}:{self.port}"
        environment = clean_environment() | conditions.environment() | kind.environment
        environment |= {
            MARK: self._mark,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "OFFLINE": "1",
            "STATE_DIR": str(folder / "state"),
            "OUTPUT_DIR": str(folder / "tmp"),
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                kind.command(self.port), cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_ready(self) -> None:
        """Wait until it can generate; raises RuntimeError with the end of its log if it never can."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"http://127.0.0.1:{self.port}{self.kind.ready_path}", timeout=2).ok:
                    return
            time.sleep(0.1)
        log = self._log.read_text(errors="replace")[-2000:]
        self.stop()
        raise RuntimeError(f"The server {self.kind.name} did not become ready:\n{log}")

    def processes(self) -> list[psutil.Process]:
        """Return its living processes, wherever they hang in the process tree."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self._mark:
                    found.append(process)
        return found

    def stop(self) -> None:
        """Stop all its processes, each by its id: by SIGTERM, then by force."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT)
        _, left = psutil.wait_procs(self.processes(), timeout=2)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(STOP_TIMEOUT)


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment() -> dict[str, str]:
    """Return this process's environment without settings that would change a server."""
    unwanted = ("MODEL", "MAX_", "WORKERS", "THREADS", "ENGINE_", "DEVICE", "DTYPE", "DISPATCHER_", "FAKE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
