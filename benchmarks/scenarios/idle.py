"""How long the device idles while clients wait: the share of time without a forward, decoding or text encoding.

Measured on a server of its own; a simulated one sleeps the full published time: the work between forwards is real, and
beside shortened forwards it would weigh more than on the device that is simulated.
"""

import dataclasses
import statistics
import time

from benchmarks.bench import Bench
from benchmarks.clients import closed_loop
from benchmarks.figures import at_most
from benchmarks.servers import OURS
from benchmarks.servers.fleet import Fleet
from benchmarks.trace import idle_share, read_trace
from benchmarks.traffic import RequestSource

NAME = "idle"
STEPS = (4, 8)
WARM_UP_SECONDS = 3.0


def run(bench: Bench) -> None:
    """Measure ours."""
    conditions = dataclasses.replace(bench.conditions, time_scale=1.0)
    fleet = Fleet(conditions, bench.folder / NAME, one_at_a_time=bench.fleet.one_at_a_time)
    seconds = WARM_UP_SECONDS + bench.plan.slice_seconds
    try:
        with fleet.serving(OURS) as server:
            began = time.monotonic()
            closed_loop(server.port, bench.plan.clients, RequestSource(seed=700).endless(STEPS), seconds)
            assert server.trace is not None
            spans = read_trace(server.trace)
    finally:
        fleet.stop()
    share = idle_share(spans, began + WARM_UP_SECONDS, began + seconds)
    window = [span for span in spans if began + WARM_UP_SECONDS < span.began < began + seconds]
    batches = [len(span.calls) for span in window if span.kind == "forward"]
    bench.measurements[NAME] = {"share": share, "mean_batch": statistics.fmean(batches)}
    note = f"full-length forwards, mean batch {statistics.fmean(batches):.1f}"
    bench.record(NAME, f"device idle at {bench.plan.clients} clients", 100 * share, "%", at_most(1.5), note)
