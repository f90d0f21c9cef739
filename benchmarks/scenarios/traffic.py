"""Clients that arrive at random: a Poisson stream of 512 x 512 images, of 4 and of 8 steps, against FIFO (b).

The rate is a share of what FIFO can serve, which is measured first; both servers get the very same arrivals.
"""

from typing import Any

from benchmarks.bench import Bench
from benchmarks.clients import LoadClient, TimedAnswer, open_loop
from benchmarks.figures import Bar, at_most
from benchmarks.percentiles import summary
from benchmarks.servers import NATIVE_THREAD, OURS
from benchmarks.servers.kind import Kind
from benchmarks.traffic import RequestSource, poisson_arrivals

NAME = "traffic"
STEPS = (4, 8)
BELOW, ABOVE = 0.8, 1.4
PROBES = 8


def run(bench: Bench) -> None:
    """Measure both servers below and above what FIFO can serve."""
    capacity = _capacity(bench)
    bench.record(NAME, "FIFO (b) serves at most", capacity, "/s")
    bench.measurements[NAME] = {"fifo_capacity": capacity}
    below, above = bench.plan.traffic_seconds
    _compare(bench, "below saturation", BELOW, capacity, below, at_most(0.6))
    _compare(bench, "above saturation", ABOVE, capacity, above, at_most(0.3))


def _capacity(bench: Bench) -> float:
    """Return the images per second that FIFO serves one after the other."""
    image_requests = RequestSource(seed=200)
    with bench.fleet.serving(NATIVE_THREAD) as server:
        client = LoadClient(server.port)
        seconds = [client.ask(image_requests.next((steps,))).latency for _ in range(PROBES // 2) for steps in STEPS]
        client.close()
    return len(seconds) / sum(seconds)


def _compare(bench: Bench, where: str, load: float, capacity: float, seconds: float, bar: Bar) -> None:
    answers: dict[str, list[TimedAnswer]] = {NATIVE_THREAD.name: [], OURS.name: []}
    for turn in range(bench.plan.rounds):
        for kind in (NATIVE_THREAD, OURS):
            # No seed twice, or the answers of the round before would come from our cache.
            seed = round(load * 1000) + turn
            answers[kind.name] += _one_round(bench, kind, load * capacity, seconds, seed)
    results: dict[str, dict[str, Any]] = {
        name: {
            "latency": summary([answer.latency for answer in got]),
            "failed": sum(not answer.is_image for answer in got),
            "latencies": [round(answer.latency, 4) for answer in got],
        }
        for name, got in answers.items()
    }
    bench.measurements[NAME][where] = {"load": load, "servers": results}
    fifo, ours = results[NATIVE_THREAD.name], results[OURS.name]
    for name, result in results.items():
        note = f"{load:g} of FIFO's capacity, {result['latency']['count']} images"
        note += f", {result['failed']} failed" if result["failed"] else ""
        bench.record(NAME, f"mean latency {where}, {name}", result["latency"]["mean"], "s", note=note)
    if ours["failed"] or fifo["failed"]:
        raise RuntimeError(f"{ours['failed']} answers of ours and {fifo['failed']} of FIFO are not new images.")
    ratio = ours["latency"]["mean"] / fifo["latency"]["mean"]
    bench.record(NAME, f"mean latency {where}, ours / FIFO (b)", ratio, "x", bar)


def _one_round(bench: Bench, kind: Kind, rate: float, seconds: float, seed: int) -> list[TimedAnswer]:
    arrivals = poisson_arrivals(rate, seconds, seed)
    source = RequestSource(seed)
    image_requests = [source.next(STEPS) for _ in arrivals]
    with bench.fleet.serving(kind) as server:
        answers = open_loop(server.port, arrivals, image_requests)
    print(f"  {kind.name} at {rate:.2f}/s: {len(answers)} images", flush=True)
    return answers
