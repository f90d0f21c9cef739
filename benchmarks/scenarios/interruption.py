"""A small image (512 x 512, 4 steps) that arrives while a large one (1328 x 1328, 50 steps) is being generated."""

import statistics
import threading
import time

from benchmarks.bench import Bench
from benchmarks.clients import LoadClient, TimedAnswer
from benchmarks.figures import at_most
from benchmarks.percentiles import summary
from benchmarks.servers import NATIVE_THREAD, OURS
from benchmarks.servers.kind import Kind
from benchmarks.traffic import RequestSource

NAME = "interruption"
LARGE, LARGE_STEPS = 1328, 50
SMALL, SMALL_STEPS = 512, 4
# Seconds after which the small one arrives; odd, so that it meets every moment of a step.
INTERVAL_SECONDS = 0.317


def run(bench: Bench) -> None:
    """Measure FIFO and ours."""
    results = {}
    for kind in (NATIVE_THREAD, OURS):
        solo, during, large = _measure(bench, kind)
        results[kind.name] = {"solo": solo, "during": during, "large": large}
        # Decoding on a CPU gives way between two layers only.
        worst = 3.0 if bench.conditions.device == "demo" else 2.0
        for what, value, limit in (("mean", statistics.fmean(during), 2.0), ("worst", max(during), worst)):
            bar = at_most(limit) if kind is OURS else None
            note = f"{len(during)} small ones, alone {solo:.2f} s, the large one {large:.1f} s"
            bench.record(NAME, f"{what} time of a small image / alone, {kind.name}", value / solo, "x", bar, note)
    bench.measurements[NAME] = results


def _measure(bench: Bench, kind: Kind) -> tuple[float, list[float], float]:
    """Return the seconds of a small image alone, of small ones beside a large one, and of that large one."""
    image_requests = RequestSource(seed=300)
    with bench.fleet.serving(kind) as server:
        client = LoadClient(server.port)
        alone = [client.ask(image_requests.next((SMALL_STEPS,), SMALL)).latency for _ in range(bench.plan.repeats)]
        large: list[TimedAnswer] = []
        image_request = image_requests.next((LARGE_STEPS,), LARGE)
        generating = threading.Thread(target=lambda: large.append(LoadClient(server.port).ask(image_request)))
        generating.start()
        during: list[float] = []
        while len(during) < 2 * bench.plan.repeats:
            time.sleep(INTERVAL_SECONDS)
            if not generating.is_alive():
                break
            during.append(client.ask(image_requests.next((SMALL_STEPS,), SMALL)).latency)
        generating.join()
        client.close()
    if not large[0].is_image:
        raise RuntimeError(f"The server {kind.name} answered {large[0].status} to the large image.")
    print(f"  {kind.name}: {summary(during)['count']} small images during a large one", flush=True)
    return summary(alone)["p50"], during, large[0].latency
