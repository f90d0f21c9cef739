"""One client and a server against `pipe()` in a process of its own: what HTTP, queue and PNG cost.

In turns, or one after the other where the device holds one model only.
"""

import statistics
from contextlib import closing

from benchmarks.bench import Bench
from benchmarks.clients import LoadClient
from benchmarks.figures import at_most
from benchmarks.servers import OURS
from benchmarks.servers.bare import BarePipeline
from benchmarks.servers.process import clean_environment
from benchmarks.traffic import ImageRequest, RequestSource

NAME = "overhead"
# What a request without parameters gets, at the size of the other scenarios.
STEPS, TRUE_CFG_SCALE = 20, 4.0


def run(bench: Bench) -> None:
    """Measure ours."""
    image_requests = RequestSource(seed=500)
    bare: list[float] = []
    served: list[float] = []
    environment = clean_environment()
    if bench.fleet.one_at_a_time:
        with BarePipeline(bench.conditions, environment) as pipeline:
            pipeline.generate(image_requests.next((2,)))
            for _ in range(bench.plan.pairs):
                bare.append(pipeline.generate(_next(image_requests)))
        with bench.fleet.serving(OURS) as server, closing(LoadClient(server.port)) as client:
            for _ in range(bench.plan.pairs):
                served.append(_ask(client, _next(image_requests)))
    else:
        with BarePipeline(bench.conditions, environment) as pipeline, bench.fleet.serving(OURS) as server:
            client = LoadClient(server.port)
            pipeline.generate(image_requests.next((2,)))
            for _ in range(bench.plan.pairs):
                bare.append(pipeline.generate(_next(image_requests)))
                served.append(_ask(client, _next(image_requests)))
            client.close()
    bench.measurements[NAME] = {"bare": bare, "served": served}
    base = statistics.median(bare)
    extra = statistics.median(served) - base
    order = "one after the other" if bench.fleet.one_at_a_time else "in turns"
    note = f"{len(bare)} pairs {order}, pipe() {base:.2f} s, {1000 * extra:+.0f} ms"
    bench.record(NAME, "one client over bare pipe()", 100 * extra / base, "%", at_most(3.0), note)


def _next(image_requests: RequestSource) -> ImageRequest:
    return image_requests.next((STEPS,), true_cfg_scale=TRUE_CFG_SCALE)


def _ask(client: LoadClient, image_request: ImageRequest) -> float:
    """Return the seconds until the image is there."""
    answer = client.ask(image_request)
    if not answer.is_image:
        raise RuntimeError(f"The server answered {answer.status} instead of an image.")
    return answer.latency
