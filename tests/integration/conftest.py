"""Real servers for the integration tests: gunicorn on a free loopback port, stopped by its process id."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

ROOT = Path(__file__).resolve().parents[2]
STOP_TIMEOUT = 30.0


class Server:
    """One running server and what a test needs of it."""

    def __init__(self, command: list[str], port: int, log: Path, environment: dict[str, str]) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log_file = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)

    @property
    def log(self) -> str:
        """Everything that the server has written so far."""
        return self.log_file.read_text(errors="replace")

    def health(self) -> dict[str, Any]:
        """Return the body of /health."""
        body: dict[str, Any] = requests.get(f"{self.url}/health", timeout=5).json()
        return body

    def generate(self, prompt: str = "a red circle on a blue background", **fields: Any) -> requests.Response:
        """POST /generate; `http_timeout` is the client's patience in seconds."""
        patience = fields.pop("http_timeout", 60)
        return requests.post(f"{self.url}/generate", json={"prompt": prompt, **fields}, timeout=patience)

    def wait_until_alive(self, timeout: float = 20.0) -> None:
        """Wait until the port answers."""
        self.wait_for(lambda: requests.get(f"{self.url}/livez", timeout=1).ok, "the port", timeout)

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait until /readyz answers 200."""
        self.wait_for(lambda: requests.get(f"{self.url}/readyz", timeout=1).ok, "readiness", timeout)

    def wait_for(self, condition: Callable[[], Any], what: str, timeout: float = 20.0) -> None:
        """Wait until `condition()` is true; requests that fail meanwhile count as false."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"The server ended while waiting for {what}:\n{self.log}"
            try:
                if condition():
                    return
            except (requests.RequestException, ValueError):
                pass
            time.sleep(0.02)
        pytest.fail(f"Waited {timeout:g} s for {what}.\n{self.log}")

    def worker_pids(self) -> list[int]:
        """Return the process ids of the HTTP workers."""
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop the server and return its exit status; every process of it must be gone."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_TIMEOUT)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start servers: `servers(engine="fake", MAX_QUEUE="4")`; all are stopped at the end of the session."""
    running: list[Server] = []

    def start(engine: str = "fake", command: list[str] | None = None, **settings: str) -> Server:
        folder = tmp_path_factory.mktemp("server")
        port = free_port()
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("FAKE_", "WORKERS", "MODEL"))
        }
        environment |= {
            "PORT": str(port), "HOST": "127.0.0.1", "STATE_DIR": str(folder / "state"), "OUTPUT_DIR": str(folder / "tmp"),
            "OFFLINE": "1", "MODEL": "demo", "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        if engine == "fake":
            environment["ENGINE_MODULE"] = "tests.fake_engine"
        environment |= settings
        gunicorn = [sys.executable, "-m", "gunicorn", "-c", "gunicorn_config.py", "qwen_image_server:app"]
        server = Server(command or gunicorn, port, folder / "server.log", environment)
        running.append(server)
        server.wait_until_alive()
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def demo_server(servers: Callable[..., Server]) -> Server:
    """A server with the embedded demo model, shared by all tests that do not break it."""
    server = servers(engine="real")
    server.wait_until_ready(120)
    return server


@pytest.fixture(scope="session")
def fake_server(servers: Callable[..., Server]) -> Server:
    """A server whose engine only pretends, shared by all tests that do not break it."""
    server = servers()
    server.wait_until_ready()
    return server
