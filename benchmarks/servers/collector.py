"""An OpenTelemetry collector in a process of its own: it takes only what the measured servers leave of the cores.

It reads what it is sent, as a real one does, and keeps none of it: `python -m benchmarks.servers.collector`.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from benchmarks.servers.process import ROOT, STOP_TIMEOUT, clean_environment

# The lowest priority.
NICENESS = 19


@dataclass(frozen=True)
class TraceCollector:
    """A collector that runs."""

    url: str

    def count(self) -> int:
        """Return how many exports it has received."""
        return int(requests.get(self.url, timeout=10).text)


@contextlib.contextmanager
def collector() -> Iterator[TraceCollector]:
    """Start one, and stop it at the end."""
    command = [sys.executable, "-m", "benchmarks.servers.collector"]
    piped = subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, text=True)
    with piped as process:
        assert process.stdout is not None
        try:
            yield TraceCollector(f"http://127.0.0.1:{process.stdout.readline().strip()}")
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT)


class _ExportReceiver(BaseHTTPRequestHandler):
    # Exporters keep their connection.
    protocol_version = "HTTP/1.1"
    received = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        _ExportReceiver.received += 1
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(str(_ExportReceiver.received).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing of each export."""

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    """Print the port, and collect until the process is ended."""
    os.nice(NICENESS)
    with ThreadingHTTPServer(("127.0.0.1", 0), _ExportReceiver) as server:
        print(server.server_port, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
