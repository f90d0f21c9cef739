"""Peak memory of all processes of the server, and of the card, with one client and with sixteen."""

import math
from contextlib import ExitStack

import psutil

from benchmarks.bench import Bench
from benchmarks.clients import closed_loop
from benchmarks.figures import Bar, at_most
from benchmarks.memory import PeakCardMemory, PeakMemory
from benchmarks.servers import OURS
from benchmarks.traffic import RequestSource

NAME = "memory"
SIDE, STEPS = 1024, 2


def run(bench: Bench) -> None:
    """Measure ours: one client first, because a peak stays where it is."""
    image_requests = RequestSource(seed=600).endless((STEPS,), SIDE)
    peaks: dict[str, dict[int, float]] = {"processes": {}, "card": {}}
    with bench.fleet.serving(OURS) as server:
        processes = server.processes()
        for clients in (1, bench.plan.clients):
            watched = {"processes": PeakMemory(processes)}
            if bench.conditions.device == "cuda":
                watched["card"] = PeakCardMemory()
            with ExitStack() as stack:
                for memory in watched.values():
                    stack.enter_context(memory)
                closed_loop(server.port, clients, image_requests, bench.plan.slice_seconds / 2)
            for where, memory in watched.items():
                peaks[where][clients] = memory.peak
        names = [_role(process) for process in processes]
    bench.measurements[NAME] = {"peak_mib": peaks["processes"], "card_peak_mib": peaks["card"], "processes": names}
    _record(bench, "peak", peaks["processes"], at_most(1.6))
    if peaks["card"]:
        # No bar: the limit of images at a time is chosen by the memory that is free.
        _record(bench, "peak of the card", peaks["card"], None)


def _record(bench: Bench, what: str, peaks: dict[int, float], bar: Bar | None) -> None:
    """Record the ratio of two peaks in MiB."""
    one, many = peaks[1], peaks[bench.plan.clients]
    note = f"{math.ceil(one)} MiB with one, {math.ceil(many)} MiB with {bench.plan.clients}"
    bench.record(NAME, f"{what} at {bench.plan.clients} clients / at 1", many / one, "x", bar, note)


def _role(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[1:4])
    except psutil.Error:
        return "ended"
