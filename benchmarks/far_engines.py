"""Engines on other machines against engines here: `python -m benchmarks.far_engines`.

The machines are Ray nodes on loopback addresses, so that the network between real ones comes on top. The latency that a
far engine adds is measured with an engine that generates nothing, by asking both servers in turn; what a second machine
brings, on the simulated device at its true time scale, without guidance.
"""

import argparse
import contextlib
import dataclasses
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import requests

from benchmarks.clients import LoadClient, closed_loop, throughput
from benchmarks.conditions import Conditions
from benchmarks.percentiles import percentile
from benchmarks.servers import OURS
from benchmarks.servers.process import ROOT, ServerProcess, clean_environment, free_port
from benchmarks.traffic import RequestSource

HEAD = "127.0.0.2"
EMPTY_ENGINE = "tests.support.fake_engine"
Server = contextlib.AbstractContextManager[ServerProcess]
SIDES = (512, 1328)
START_SECONDS = 120.0


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.far_engines", description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="requests of each size to each server")
    parser.add_argument("--clients", type=int, default=32, help="clients of the simulated device")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long they ask")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="far-") as folder:
        print(_latency(Path(folder), chosen.count))
        print(_machines(Path(folder), chosen.clients, chosen.seconds))
    return 0


def _latency(folder: Path, count: int) -> str:
    engine = {"ENGINE_MODULE": EMPTY_ENGINE}
    with _cluster(folder / "far", 1, engine) as far, _server(folder / "near", engine) as near:
        clients, source = {"near": LoadClient(near.port), "far": LoadClient(far.port)}, RequestSource(1)
        lines = []
        for side in SIDES:
            seconds: dict[str, list[float]] = {"near": [], "far": []}
            for _ in range(count):
                for name, client in clients.items():
                    seconds[name].append(client.ask(source.next((1,), side)).latency)
            near_p50, far_p50 = (1000 * percentile(seconds[name], 50) for name in ("near", "far"))
            lines.append(
                f"{side}x{side}: near {near_p50:.1f} ms, far {far_p50:.1f} ms, added {far_p50 - near_p50:.1f} ms"
            )
        for client in clients.values():
            client.close()
    return "\n".join(lines)


def _machines(folder: Path, clients: int, seconds: float) -> str:
    rates = []
    for count in (1, 2):
        with _cluster(folder / f"{count} machines", count, {}) as server:
            source = RequestSource(count)
            closed_loop(server.port, clients, source.endless((20,)), 10.0)  # the costs are learnt
            rates.append(throughput(closed_loop(server.port, clients, source.endless((20,)), seconds)))
    one, two = rates
    return f"{clients} clients, 512x512, 20 steps: one machine {one:.2f}/s, two {two:.2f}/s, {two / one:.2f} times"


@contextlib.contextmanager
def _server(folder: Path, environment: dict[str, str], machines: int = 0, port: int = 0) -> Iterator[ServerProcess]:
    """Run a server; with `machines`, it is the head of a cluster at `port`, and all engines are on those."""
    folder.mkdir()
    kind = dataclasses.replace(OURS, environment=OURS.environment | environment)
    server, joined = ServerProcess(kind, _conditions(), folder), []
    try:
        if machines:
            _wait_for(lambda: socket.create_connection((HEAD, port), 1).close())
            joined = [_machine(folder, f"127.0.0.{3 + number}", port, environment) for number in range(machines)]
        server.wait_until_ready()
        _wait_for(lambda: _require_seats(server.port, machines or 1))
        yield server
    finally:
        for machine in joined:
            machine.terminate()
        for machine in joined:
            machine.wait(60)
        server.stop()


def _cluster(folder: Path, machines: int, environment: dict[str, str]) -> Server:
    port = free_port()
    own = {
        "CLUSTER": "head", "CLUSTER_ADDRESS": HEAD, "CLUSTER_PORT": str(port), "CLUSTER_NODE_PORT": "0",
        "CLUSTER_TOKEN": "token-of-the-benchmark", "DEVICES": "none",
    }  # fmt: skip
    return _server(folder, own | environment, machines, port)


def _machine(folder: Path, address: str, port: int, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    there = clean_environment() | _conditions().environment() | OURS.environment | environment
    there |= {"CLUSTER": "", "CLUSTER_ADDRESS": address, "STATE_DIR": str(folder / address), "DEVICES": "cpu"}
    with (folder / f"{address}.log").open("wb") as log:
        command = [sys.executable, "-m", "imageserver.cluster", "--join", f"{HEAD}:{port}"]
        return subprocess.Popen(command, cwd=ROOT, env=there | {"OFFLINE": "1"}, stdout=log, stderr=log)


def _wait_for(attempt: Callable[[], None]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            attempt()
            return
        except (OSError, AssertionError):
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def _require_seats(port: int, count: int) -> None:
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    assert f"seats_free {count}.0" in text


def _conditions() -> Conditions:
    return Conditions("simulated", ROOT / "imageserver" / "demo_model")


if __name__ == "__main__":
    sys.exit(main())
