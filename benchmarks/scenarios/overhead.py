"""One client and a server against `pipe()` in a process of its own, in turns: what HTTP, queue and PNG cost."""

import statistics

from benchmarks.bench import Bench
from benchmarks.clients import LoadClient
from benchmarks.figures import at_most
from benchmarks.servers import OURS
from benchmarks.servers.bare import BarePipeline
from benchmarks.servers.process import clean_environment
from benchmarks.traffic import RequestSource

NAME = "overhead"
# What a request without parameters gets, at the size of the other scenarios.
STEPS, TRUE_CFG_SCALE = 20, 4.0


def run(bench: Bench) -> None:
    """Measure ours."""
    image_requests = RequestSource(seed=500)
    bare, served = [], []
    with BarePipeline(bench.conditions, clean_environment()) as pipeline, bench.fleet.serving(OURS) as server:
        client = LoadClient(server.port)
        pipeline.generate(image_requests.next((2,)))
        for _ in range(bench.plan.pairs):
            bare.append(pipeline.generate(image_requests.next((STEPS,), true_cfg_scale=TRUE_CFG_SCALE)))
            answer = client.ask(image_requests.next((STEPS,), true_cfg_scale=TRUE_CFG_SCALE))
            if not answer.is_image:
                raise RuntimeError(f"The server answered {answer.status} instead of an image.")
            served.append(answer.latency)
        client.close()
    bench.measurements[NAME] = {"bare": bare, "served": served}
    base = statistics.median(bare)
    extra = statistics.median(served) - base
    note = f"{len(bare)} pairs, pipe() {base:.2f} s, {1000 * extra:+.0f} ms"
    bench.record(NAME, "one client over bare pipe()", 100 * extra / base, "%", at_most(3.0), note)
