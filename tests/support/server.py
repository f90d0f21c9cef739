"""One real server under test: how it is started, asked, watched and stopped."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.support.paths import ROOT

STOP_TIMEOUT = 30.0
# Of a model that generates small images: batches of larger ones are then not measured at the start.
SMALL_IMAGES = {"MAX_PIXELS": str(512 * 512)}
GUNICORN = [sys.executable, "-m", "gunicorn", "-c", "gunicorn_config.py", "qwen_image_server:app"]
SERVE = [sys.executable, "qwen_image_server.py", "serve"]


class Server:
    """A running server; `settings` are its environment variables."""

    def __init__(
        self, folder: Path, *, engine: str = "fake", command: list[str] | None = None, **settings: str
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output_dir = folder / "tmp"
        self.log_file = folder / "server.log"
        self._log_position = 0
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("FAKE_", "WORKERS", "MODEL"))
        }
        environment = inherited | {
            "PORT": str(self.port), "HOST": "127.0.0.1", "MODEL": "demo", "OFFLINE": "1", "PYTHONUNBUFFERED": "1",
            "STATE_DIR": str(folder / "state"), "OUTPUT_DIR": str(self.output_dir),
        }  # fmt: skip
        if engine == "fake":
            environment["ENGINE_MODULE"] = "tests.support.fake_engine"
        with self.log_file.open("ab") as output:
            self.process = subprocess.Popen(
                command or GUNICORN, cwd=ROOT, env=environment | settings, stdout=output, stderr=output
            )

    @property
    def log(self) -> str:
        """Everything that the server has written so far."""
        return self.log_file.read_text(errors="replace")

    def read_new_log(self) -> str:
        """Return what was written since the last call."""
        with self.log_file.open("rb") as log:
            log.seek(self._log_position)
            news = log.read()
        self._log_position += len(news)
        return news.decode(errors="replace")

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET a path."""
        return self.ask("GET", path, **({"timeout": 20} | options))

    def post(self, body: Any, **options: Any) -> requests.Response:
        """POST /generate with any body: bytes and iterators travel as they are, the rest as JSON."""
        raw = isinstance(body, bytes | Iterator)
        return self.ask("POST", "/generate", **{"data" if raw else "json": body}, **({"timeout": 60} | options))

    def ask(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> requests.Response:
        # An idle kept-alive connection would hold up the end of the server for gunicorn's five seconds.
        return requests.request(method, self.url + path, headers={"Connection": "close"} | (headers or {}), **options)

    def generate(self, prompt: str = "a red circle on a blue background", **fields: Any) -> requests.Response:
        """POST /generate; the cache is off, or tests with the same prompt would see each other's images."""
        return self.post({"prompt": prompt, "cache": False, **fields})

    def start_generating(self, prompt: str, **fields: Any) -> "Future[requests.Response]":
        """POST /generate in the background."""
        return in_background(self.generate, prompt, **fields)

    def job_with(self, marker: str) -> dict[str, Any]:
        """Return the newest job whose prompt holds a marker."""
        jobs = self.get("/v1/jobs").json()["data"]
        return next((job for job in jobs if marker in job["prompt"]), {"state": "unknown"})

    def health(self) -> dict[str, Any]:
        """Return the body of /health."""
        body: dict[str, Any] = self.get("/health", timeout=5).json()
        return body

    def wait_until_alive(self, timeout: float = 30.0) -> None:
        """Wait until the port answers."""
        self.wait_for(lambda: self.get("/livez", timeout=1).ok, "the port", timeout)

    def wait_until_ready(self, timeout: float = 120.0) -> None:
        """Wait until /readyz answers 200."""
        self.wait_for(lambda: self.get("/readyz", timeout=1).ok, "readiness", timeout)

    def wait_until_active(self, count: int = 1) -> None:
        """Wait until the engine works on `count` generations."""
        self.wait_for(lambda: self.health()["active_tasks"] == count, f"{count} active generations")

    def wait_until_idle(self) -> None:
        """Wait until nothing runs and nothing waits."""
        self.wait_for(lambda: not (self.health()["active_tasks"] or self.health()["queue_length"]), "idleness")

    def wait_for(self, condition: Callable[[], Any], what: str, timeout: float = 20.0) -> float:
        """Wait until `condition()` is true and return the seconds; requests that fail meanwhile count as false."""
        began = time.monotonic()
        while time.monotonic() < began + timeout:
            assert self.process.poll() is None, f"The server ended while waiting for {what}:\n{self.log}"
            with contextlib.suppress(requests.RequestException, ValueError):
                if condition():
                    return time.monotonic() - began
            # Every question takes time from what it waits for, so what takes long is asked about seldom.
            time.sleep(min(max((time.monotonic() - began) / 20, 0.02), 0.1))
        raise AssertionError(f"Waited {timeout:g} s for {what}.\n{self.log}")

    def worker_pids(self) -> list[int]:
        """Return the process ids of the HTTP workers."""
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def processes(self) -> list[psutil.Process]:
        """Return every living process of this server, wherever it hangs in the process tree."""
        log = str(self.log_file)
        return [process for process in psutil.process_iter() if log == _standard_error_of(process)]

    def leftovers(self, timeout: float = 5.0) -> list[psutil.Process]:
        """Return the processes that still live after `timeout` seconds, and kill them."""
        deadline = time.monotonic() + timeout
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return left

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop the server and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_TIMEOUT)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        """Return a raw connection; `receive_buffer` is how many bytes it takes before they are read."""
        connection = socket.socket()
        try:
            if receive_buffer is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.settimeout(30)
            connection.connect(("127.0.0.1", self.port))
        except OSError:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def raw_generation(
        self, body: bytes, receive_buffer: int | None = None, path: str = "/generate"
    ) -> Iterator[socket.socket]:
        """POST on a raw socket and leave reading, or leaving, to the caller."""
        with self.connect(receive_buffer) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            yield connection


def _standard_error_of(process: psutil.Process) -> str | None:
    """Return the file that all processes of a server inherit; gunicorn overwrites its environment with its title."""
    try:
        return str(Path(f"/proc/{process.pid}/fd/2").readlink())
    except OSError:
        return None


def in_background(function: Callable[..., Any], *args: Any, **kwargs: Any) -> "Future[Any]":
    """Run a function on a thread of its own."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def refused_start(command: list[str], folder: Path, **settings: str) -> str:
    """Start a server that cannot start with such settings, and return the one sentence that it ends with."""
    environment = os.environ | {
        "PORT": str(free_port()), "MODEL": "demo", "STATE_DIR": str(folder),
        "ENGINE_MODULE": "tests.support.fake_engine",
    } | settings  # fmt: skip
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert "hush-hush" not in ended.stdout + ended.stderr, "a secret is shown"
    [sentence] = ended.stderr.strip().splitlines()
    return sentence


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
