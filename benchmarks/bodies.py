"""How long others wait, and how much memory it takes, while hostile bodies are read: `python -m benchmarks.bodies`.

Starts the server on a free port with an engine that only simulates, sends each body alone, and polls `/livez` from a
process of its own meanwhile.
"""

import argparse
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.conditions import Conditions
from benchmarks.health_poll import HealthPoll
from benchmarks.hostile_bodies import HOSTILE_BODIES, SIZE, HostileBody
from benchmarks.memory import PeakMemory, memory_of
from benchmarks.percentiles import percentile
from benchmarks.servers import OURS
from benchmarks.servers.process import ROOT, ServerProcess

TIMEOUT = 120.0
INTERVAL_SECONDS = 0.01
# Polls before and after a body.
MARGIN_SECONDS = 0.3


def main() -> int:
    """Measure every body, or those whose names are given, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bodies", description=__doc__)
    parser.add_argument("names", nargs="*", help="names of bodies, or words in them; all by default")
    chosen = parser.parse_args()
    wanted = [body for body in HOSTILE_BODIES if not chosen.names or any(word in body.name for word in chosen.names)]
    with tempfile.TemporaryDirectory(prefix="bodies-") as folder:
        server = ServerProcess(OURS, Conditions("simulated", ROOT / "imageserver" / "demo_model"), Path(folder))
        try:
            server.wait_until_ready()
            print("| body | answer | seconds | /livez p50 ms | p99 ms | longest ms | peak MiB above idle |")
            print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
            for body in wanted:
                print(_row(server, body), flush=True)
        finally:
            server.stop()
    return 0


def _row(server: ServerProcess, body: HostileBody) -> str:
    data = body.build(SIZE)
    processes = server.processes()
    idle = sum(map(memory_of, processes))
    poll = HealthPoll(server.port, TIMEOUT, "/livez", INTERVAL_SECONDS)
    with PeakMemory(processes) as memory:
        time.sleep(MARGIN_SECONDS)
        began = time.monotonic()
        answer = send(server.port, body, data)
        seconds = time.monotonic() - began
        time.sleep(MARGIN_SECONDS)
    latencies = [1000 * latency for latency in poll.stop()]
    figures = (percentile(latencies, 50), percentile(latencies, 99), max(latencies), memory.peak - idle)
    return f"| {body.name} | {answer} | {seconds:.1f} | {' | '.join(f'{figure:.0f}' for figure in figures)} |"


def send(port: int, body: HostileBody, data: bytes) -> str:
    """Send a body and return the status of the answer, or the code of the frame that answers it."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        try:
            if body.transfer == "frame":
                return _send_frame(connection, body, data)
            connection.sendall(_request(body, data))
        except OSError as error:
            return type(error).__name__
        return connection.recv(4096).partition(b" ")[2][:3].decode() or "closed"


def _request(body: HostileBody, data: bytes) -> bytes:
    length = f"Content-Length: {len(data)}"
    if body.transfer == "chunked":
        length, data = "Transfer-Encoding: chunked", b"1\r\n \r\n" * len(data) + b"0\r\n\r\n"
    head = f"POST {body.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {body.content_type}\r\n{length}\r\n\r\n"
    return head.encode() + data


def _send_frame(connection: socket.socket, body: HostileBody, data: bytes) -> str:
    handshake = (
        f"GET {body.path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    connection.sendall(handshake.encode())
    connection.recv(4096)
    # FIN and text; masked by zeros; a length of 64 bits.
    connection.sendall(b"\x81\xff" + struct.pack(">Q", len(data)) + bytes(4) + data)
    return connection.recv(4096)[:200].decode(errors="replace").partition('"code":"')[2].partition('"')[0] or "closed"


if __name__ == "__main__":
    sys.exit(main())
