"""One client and a server against `pipe()` in a process of its own: what HTTP, queue and PNG cost.

Without guidance, because the server computes both calls of a guided step in one forward, which `pipe()` does not: that
gain is a figure of its own. In turns, or one after the other where the device holds one model only.
"""

import statistics
from collections.abc import Sequence
from contextlib import closing

from benchmarks.bench import Bench
from benchmarks.clients import LoadClient
from benchmarks.figures import at_most
from benchmarks.servers import OURS
from benchmarks.servers.bare import BarePipeline
from benchmarks.servers.process import clean_environment
from benchmarks.traffic import ImageRequest, RequestSource

NAME = "overhead"
# The default steps and guidance, at the size of the other scenarios.
STEPS, TRUE_CFG_SCALE = 20, 4.0


def run(bench: Bench) -> None:
    """Measure ours, without and with guidance."""
    (bare, served), (guided_bare, guided) = _measure(bench, (1.0, TRUE_CFG_SCALE))
    base = statistics.median(bare)
    extra = statistics.median(served) - base
    note = f"{_order(bench)}, pipe() {base:.2f} s, {1000 * extra:+.0f} ms"
    bench.record(NAME, "one client over bare pipe()", 100 * extra / base, "%", at_most(3.0), note)
    base = statistics.median(guided_bare)
    note = f"{_order(bench)}, pipe() {base:.2f} s"
    bench.record(NAME, "one client with guidance / bare pipe()", statistics.median(guided) / base, "x", note=note)
    bench.measurements[NAME] = {"bare": bare, "served": served, "guided_bare": guided_bare, "guided": guided}


def _order(bench: Bench) -> str:
    order = "one after the other" if bench.fleet.one_at_a_time else "in turns"
    return f"{bench.plan.pairs} pairs {order}"


def _measure(bench: Bench, scales: Sequence[float]) -> list[tuple[list[float], list[float]]]:
    """Return the seconds of `pipe()` and of the server, image by image, for each guidance."""
    image_requests, environment = RequestSource(seed=500), clean_environment()
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in scales]
    order = [(pair, scale) for pair, scale in zip(times, scales, strict=True) for _ in range(bench.plan.pairs)]
    if bench.fleet.one_at_a_time:
        # The full-size model takes half a minute to load: each side does so once.
        with BarePipeline(bench.conditions, environment) as pipeline:
            pipeline.generate(image_requests.next((2,)))
            for (bare, _), scale in order:
                bare.append(pipeline.generate(_next(image_requests, scale)))
        with bench.fleet.serving(OURS) as server, closing(LoadClient(server.port)) as client:
            for (_, served), scale in order:
                served.append(_ask(client, _next(image_requests, scale)))
    else:
        with BarePipeline(bench.conditions, environment) as pipeline, bench.fleet.serving(OURS) as server:
            client = LoadClient(server.port)
            pipeline.generate(image_requests.next((2,)))
            for (bare, served), scale in order:
                bare.append(pipeline.generate(_next(image_requests, scale)))
                served.append(_ask(client, _next(image_requests, scale)))
            client.close()
    return times


def _next(image_requests: RequestSource, true_cfg_scale: float) -> ImageRequest:
    return image_requests.next((STEPS,), true_cfg_scale=true_cfg_scale)


def _ask(client: LoadClient, image_request: ImageRequest) -> float:
    """Return the seconds until the image is there."""
    answer = client.ask(image_request)
    if not answer.is_image:
        raise RuntimeError(f"The server answered {answer.status} instead of an image.")
    return answer.latency
