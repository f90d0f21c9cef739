"""A real dispatcher with sleeping engines, and clients that each send their next request when the last is answered."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.scaling.sleeping_engine import FORWARD_VARIABLE
from imageserver.dispatch.client import launch
from imageserver.dispatch.client.runtime_dir import RuntimeDir
from imageserver.generation import Generation
from imageserver.protocol.channel import Channel
from imageserver.protocol.messages import Finished, Progress, Snapshot, Submit
from imageserver.settings import Settings

SIDE = 512


@dataclass(frozen=True)
class Workload:
    """How many engines and clients, and the steps of every image; `forward` seconds replace the published curve."""

    engines: int
    clients: int
    steps: int
    forward: float | None = None


@dataclass(frozen=True)
class Throughput:
    """What was measured: images and steps per second, and the share of one core that the dispatcher used."""

    images: float
    steps: float
    dispatcher: float


def measure(workload: Workload, seconds: float, warm_up: float) -> Throughput:
    """Run a workload, and measure for so many seconds after the warm-up."""
    with _dispatcher(workload) as (channel, process):
        return _drive(channel, process, workload, seconds, warm_up)


@contextlib.contextmanager
def _dispatcher(workload: Workload) -> Iterator[tuple[Channel, psutil.Process]]:
    runtime_dir = RuntimeDir(os.getpid())
    os.environ[FORWARD_VARIABLE] = "" if workload.forward is None else str(workload.forward)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            _env_file=None, devices=",".join(["cpu"] * workload.engines), max_queue=1000, state_dir=Path(folder),
            engine_module="benchmarks.scaling.sleeping_engine",
        )  # fmt: skip
        channel, pid = launch.connect_or_start(runtime_dir, settings)
        try:
            yield channel, psutil.Process(pid)
        finally:
            channel.close()
            launch.stop(runtime_dir)


def _drive(channel: Channel, process: psutil.Process, workload: Workload, seconds: float, warm_up: float) -> Throughput:
    _wait_for_engines(channel, workload.engines)
    for number in range(workload.clients):
        channel.send(_request(number, workload.steps))
    sent, images, steps = workload.clients, 0, 0
    begins, began, used = time.monotonic() + warm_up, 0.0, 0.0
    for message, _ in channel:
        now = time.monotonic()
        if not began and now >= begins:
            began, used, images, steps = now, _seconds_used(process), 0, 0
        if began and now >= began + seconds:
            passed = now - began
            return Throughput(images / passed, steps / passed, (_seconds_used(process) - used) / passed)
        if isinstance(message, Progress):
            steps += 1
        elif isinstance(message, Finished):
            images += 1
            channel.send(_request(sent, workload.steps))
            sent += 1
    raise ConnectionError("The dispatcher is gone.")


def _wait_for_engines(channel: Channel, count: int) -> None:
    for message, _ in channel:
        if isinstance(message, Snapshot) and sum(seat.state == "healthy" for seat in message.seats) == count:
            return
    raise ConnectionError("The dispatcher is gone.")


def _seconds_used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _request(number: int, steps: int) -> Submit:
    generation = Generation(
        prompt=str(number), negative_prompt=" ", width=SIDE, height=SIDE, steps=steps, true_cfg_scale=1.0, seed=number
    )
    return Submit(job=number + 1, generation=generation, timeout=600.0)
