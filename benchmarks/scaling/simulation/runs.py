"""Real servers under the traffic that is simulated: engines on the simulated device at its true time scale."""

import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from benchmarks.clients import open_loop
from benchmarks.conditions import Conditions
from benchmarks.machine import describe_machine
from benchmarks.scaling.simulation.arrivals import Arrival, bursty_arrivals
from benchmarks.scaling.simulation.virtual_engine import MAX_IN_FLIGHT
from benchmarks.servers import OURS
from benchmarks.servers.process import ROOT, START_TIMEOUT, ServerProcess
from benchmarks.traffic import RequestSource

FILE = Path(__file__).with_name("runs.json")
# Arrivals per second and engine: bursts fill the device, and it is idle between them.
RATE = 0.6
# Before it is measured, so that the costs of all sizes are learnt and every library is loaded.
WARM_UP = [Arrival(0.0, side, 4) for side in (512, 768, 1024)]


@dataclass(frozen=True)
class MeasuredRun:
    """One measured run: the traffic, and the latency of each arrival in seconds."""

    engines: int
    arrivals: list[Arrival]
    latencies: list[float]


def measure(engines: int, seconds: float, seed: int) -> MeasuredRun:
    """Run one server with so many engines; raises RuntimeError where an answer is not an image."""
    arrivals = bursty_arrivals(RATE * engines, seconds, seed)
    settings = {"DEVICES": ",".join(["cpu"] * engines), "MAX_IN_FLIGHT": str(MAX_IN_FLIGHT)}
    kind = dataclasses.replace(OURS, environment=OURS.environment | settings)
    conditions = Conditions("simulated", ROOT / "imageserver" / "demo_model")
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        server = ServerProcess(kind, conditions, Path(folder))
        try:
            server.wait_until_ready()
            source = RequestSource(seed)
            _wait_for_engines(server.port, engines)
            _ask(server.port, WARM_UP * engines, source)
            latencies = _ask(server.port, arrivals, source)
            print(requests.get(f"http://127.0.0.1:{server.port}/info", timeout=10).json()["batch_caps"], flush=True)
        finally:
            server.stop()
    return MeasuredRun(engines, arrivals, latencies)


def write_runs(runs: Sequence[MeasuredRun]) -> None:
    """Keep the runs and where they were measured."""
    content = {"machine": describe_machine(), "runs": [dataclasses.asdict(run) for run in runs]}
    FILE.write_text(json.dumps(content) + "\n")


def read_runs() -> Iterator[MeasuredRun]:
    """Yield the runs that were measured last."""
    content: dict[str, Any] = json.loads(FILE.read_text())
    for run in content["runs"]:
        yield MeasuredRun(run["engines"], [Arrival(**arrival) for arrival in run["arrivals"]], run["latencies"])


def _ask(port: int, arrivals: Sequence[Arrival], source: RequestSource) -> list[float]:
    wanted = [source.next((arrival.steps,), arrival.side) for arrival in arrivals]
    answers = open_loop(port, [arrival.moment for arrival in arrivals], wanted)
    if not all(answer.is_image for answer in answers):
        raise RuntimeError(f"{sum(not answer.is_image for answer in answers)} answers are not new images.")
    return [round(answer.latency, 4) for answer in answers]


def _wait_for_engines(port: int, engines: int) -> None:
    """Wait until so many engines are healthy; raises RuntimeError where they do not become so."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        devices = requests.get(f"http://127.0.0.1:{port}/health", timeout=10).json()["devices"]
        states = [device["status"] for device in devices]
        if states.count("healthy") == engines:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"Of {engines} engines, {states.count('healthy')} are healthy after {START_TIMEOUT:g} s."
            )
        time.sleep(0.5)
