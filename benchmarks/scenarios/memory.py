"""Peak memory of all processes of the server, with one client and with sixteen."""

import math

import psutil

from benchmarks.bench import Bench
from benchmarks.clients import closed_loop
from benchmarks.figures import at_most
from benchmarks.memory import PeakMemory
from benchmarks.servers import OURS
from benchmarks.traffic import RequestSource

NAME = "memory"
SIDE, STEPS = 1024, 2


def run(bench: Bench) -> None:
    """Measure ours: one client first, because a peak stays where it is."""
    image_requests = RequestSource(seed=600).endless((STEPS,), SIDE)
    peaks: dict[int, float] = {}
    with bench.fleet.serving(OURS) as server:
        processes = server.processes()
        for clients in (1, bench.plan.clients):
            with PeakMemory(processes) as memory:
                closed_loop(server.port, clients, image_requests, bench.plan.slice_seconds / 2)
            peaks[clients] = memory.peak
        names = [_role(process) for process in processes]
    bench.measurements[NAME] = {"peak_mib": peaks, "processes": names}
    one, many = peaks[1], peaks[bench.plan.clients]
    note = f"{math.ceil(one)} MiB with one, {math.ceil(many)} MiB with {bench.plan.clients}"
    bench.record(NAME, f"peak at {bench.plan.clients} clients / at 1", many / one, "x", at_most(1.6), note)


def _role(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[1:4])
    except psutil.Error:
        return "ended"
