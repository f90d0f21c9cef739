"""Sixteen clients, each asking for the next 512 x 512 image of 8 steps as soon as it has the last one.

Equal steps are what static batching does best. The servers take turns in rounds; meanwhile `/health` is polled.
"""

from benchmarks.bench import Bench
from benchmarks.clients import TimedAnswer, closed_loop, throughput
from benchmarks.figures import at_least, at_most
from benchmarks.health_poll import HealthPoll
from benchmarks.percentiles import summary
from benchmarks.servers import LITSERVE, LITSERVE_BATCHED, OURS, PLAIN
from benchmarks.traffic import RequestSource

STEPS = 8
NAME = "throughput"
# What the published curve allows a device that batches sixteen images, and how much of it is asked for.
SIMULATED_BAR = 0.97 * 3.2


def run(bench: Bench) -> None:
    """Measure all servers."""
    plan, kinds = bench.plan, bench.kinds
    rates: dict[str, list[float]] = {kind.name: [] for kind in kinds}
    answers: dict[str, list[TimedAnswer]] = {kind.name: [] for kind in kinds}
    health: dict[str, list[float]] = {kind.name: [] for kind in kinds}
    bench.fleet.start(kinds)
    for turn in range(plan.rounds):
        for kind in kinds:
            with bench.fleet.serving(kind) as server:
                poll = HealthPoll(server.port, plan.slice_seconds)
                image_requests = RequestSource(seed=100 + turn).endless((STEPS,))
                got = closed_loop(server.port, plan.clients, image_requests, plan.slice_seconds)
                health[kind.name] += poll.latencies()
            rates[kind.name].append(throughput(got))
            answers[kind.name] += got
            print(f"  round {turn + 1}, {kind.name}: {rates[kind.name][-1]:.2f} images/s", flush=True)
    means = {name: sum(values) / len(values) for name, values in rates.items()}
    bench.measurements[NAME] = {
        kind.name: {
            "label": kind.label,
            "images_per_second": rates[kind.name],
            "failed": sum(not answer.is_image for answer in answers[kind.name]),
            "latency": summary([answer.latency for answer in answers[kind.name]]),
            "health": summary(health[kind.name]),
        }
        for kind in kinds
    }
    for kind in kinds:
        failed = bench.measurements[NAME][kind.name]["failed"]
        note = f"{failed} failed" if failed else ""
        bench.record(NAME, f"{plan.clients} clients, {kind.name}", means[kind.name], "/s", note=note)
    _compare(bench, means)
    for kind in kinds:
        value = 1000 * bench.measurements[NAME][kind.name]["health"]["p99"]
        bar = at_most(20.0) if kind is OURS else None
        bench.record("health", f"/health p99 at {plan.clients} clients, {kind.name}", value, "ms", bar)


def _compare(bench: Bench, means: dict[str, float]) -> None:
    """Record our ratio to the plain design and to the better LitServe."""
    if OURS.name not in means:
        return
    if means.get(PLAIN.name):
        bar = {"simulated": at_least(SIMULATED_BAR), "demo": at_least(1.15)}.get(bench.conditions.device)
        bench.record(NAME, "ours / plain (a)", means[OURS.name] / means[PLAIN.name], "x", bar)
    best = max((means.get(kind.name, 0.0) for kind in (LITSERVE, LITSERVE_BATCHED)), default=0.0)
    if best:
        bar = at_least(1.0) if bench.conditions.device == "simulated" else None
        bench.record(NAME, "ours / best LitServe (c)", means[OURS.name] / best, "x", bar)
