"""What jobs see of each other on the device: many at once, with guidance, small beside large, and of all sizes."""

import dataclasses
import statistics
import time
from collections.abc import Sequence
from random import Random

from benchmarks.gpu.check import Check, image
from benchmarks.gpu.figures import say
from imageserver.generation import Generation
from imageserver.protocol.messages import Failed, Finished


def clients(check: Check) -> None:
    """Say images a second of sixteen jobs at once, against one `pipe()` after the other."""
    side, steps, count = min(check.scale.sides), check.scale.client_steps, check.scale.clients
    check.engine([image(side, steps, seed=seed) for seed in range(count)])
    seconds = check.engine([image(side, steps, seed=seed) for seed in range(count)])
    largest = max(len(calls) for _, _, calls in check.spans)
    idle = check.idle_share()
    some = max(1, count // 4)
    one_by_one = check.bare(side, steps, count=some) * count / some
    say(
        check.stage,
        f"{count} images {side}, {steps} steps, at once",
        count / seconds,
        "/s",
        bare=round(count / one_by_one, 3),
        gain=round(one_by_one / seconds, 2),
        largest_batch=largest,
        outside_forwards_percent=round(100 * idle, 2),
    )


def guided_clients(check: Check) -> None:
    """Say images a second of eight clients with guidance, against one by one: look-ahead off (bar 1.9), and on."""
    side, steps, count = min(check.scale.sides), check.scale.guided_steps, check.scale.guided_clients
    wanted = [image(side, steps, 4.0, seed=seed) for seed in range(count)]
    some = wanted[: max(1, count // 4)]
    check.engine([dataclasses.replace(one, steps=2) for one in wanted])
    alone = {"on": _one_by_one(check, some)}
    cap_of = check.served.cap_of
    # A forward of one call has no room for the foreseen one.
    check.served.cap_of = lambda pixels: 1
    try:
        alone["off"] = _one_by_one(check, some)
    finally:
        check.served.cap_of = cap_of
    each = check.engine(wanted) / count
    say(
        check.stage,
        f"{count} clients with guidance {side}, {steps} steps, at once",
        1 / each,
        "/s",
        gain_over_one_without_lookahead=round(alone["off"] / each, 2),
        bar=1.9,
        gain_over_one_with_lookahead=round(alone["on"] / each, 2),
        lookahead_alone=round(alone["off"] / alone["on"], 2),
    )


def _one_by_one(check: Check, wanted: Sequence[Generation]) -> float:
    """Return the seconds of an image where each waits for the one before."""
    return sum(check.engine([one]) for one in wanted) / len(wanted)


def mixed(check: Check) -> None:
    """Say how many of 200 jobs of random sizes fail, two in flight, and how much memory lies in pieces meanwhile."""
    random, count, sides = Random(7), check.scale.mixed_jobs, check.scale.mixed_sides
    check.ended.clear()
    added, most_cached = 0, 0.0
    began = time.perf_counter()
    while len(check.ended) < count:
        while added < min(count, len(check.ended) + 2):
            size = {"width": random.choice(sides), "height": random.choice(sides)}
            check.add(added, dataclasses.replace(image(sides[0], 2, seed=added), **size))
            added += 1
        if check.pool.step_scheduler.busy:
            check.pool.step_scheduler.step()
        else:
            time.sleep(0.001)
        most_cached = max(most_cached, check.cached())
    failures = [message for _, message in check.ended.values() if isinstance(message, Failed)]
    say(
        check.stage,
        f"failures of {count} jobs of random sizes, 2 in flight",
        len(failures),
        sentences=sorted({message.sentence for message in failures}),
        seconds=round(time.perf_counter() - began, 1),
        allocated_gib=check.held(),
        reserved_minus_allocated_gib=round(check.cached(), 2),
        at_most_gib=round(most_cached, 2),
    )


def interruption(check: Check) -> None:
    """Say what a small image takes that arrives while a large one is generated, alone and in between."""
    small_side, large_side = min(check.scale.sides), max(check.scale.sides)
    small, large = image(small_side, 4, seed=5), image(large_side, check.scale.large_steps, seed=6)
    alone = min(check.engine([small]) for _ in range(2))
    arrived: dict[int, float] = {}

    def on_turn(turn: int) -> None:
        if turn >= 3 and len(arrived) < 3 and all(job in check.ended for job in arrived):
            job = 100 + len(arrived)
            arrived[job] = time.perf_counter()
            check.add(job, dataclasses.replace(small, seed=job))

    whole = check.engine([large], on_turn)
    took = [round(check.end_of(job) - moment, 4) for job, moment in arrived.items()]
    say(
        check.stage,
        f"small image {small_side} during one of {large_side}",
        max(took),
        "s",
        alone=round(alone, 4),
        ratio=round(max(took) / alone, 2),
        all=took,
        the_large_one=round(whole, 2),
    )


def decode_charge(check: Check) -> None:
    """Say whether decoding, which the host does not wait for, is told with its own image or with its neighbour's."""
    small_side, large_side = min(check.scale.sides), max(check.scale.sides)
    seconds = check.engine([image(large_side, 2)])
    _, message = check.ended[0]
    told = message.outcome.inference_time if isinstance(message, Finished) else 0.0
    check.engine([image(large_side, 2), image(small_side, 12)])
    own = [ended - began for began, ended, calls in check.spans if calls[0][0] == 1]
    say(check.stage, f"image {large_side} of 2 steps", seconds, "s", told=round(told, 4))
    say(
        check.stage,
        f"longest forward of a {small_side} beside a decode of {large_side}",
        1000 * max(own),
        "ms",
        median_ms=round(1000 * statistics.median(own), 2),
    )
