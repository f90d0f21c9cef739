"""What jobs see of the device: a step, a batch, a neighbour, many clients at once."""

import dataclasses
import statistics
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.check import LONG_PROMPT, Check, call_of, image
from benchmarks.gpu.figures import say
from imageserver.engine.devices.batch_limits import seconds_of
from imageserver.protocol.messages import Finished


def step_times(check: Check) -> None:
    """Say the seconds of a step, bare and in the engine: the slope between a short and a long image, in turns."""
    for side, (few, many) in check.scale.sides.items():
        for guidance in (1.0, 4.0) if side == min(check.scale.sides) else (1.0,):
            check.bare(side, few, guidance)
            bare: dict[int, list[float]] = {few: [], many: []}
            engine: dict[int, list[float]] = {few: [], many: []}
            for _ in range(2):
                for steps in (few, many):
                    bare[steps].append(check.bare(side, steps, guidance))
                    engine[steps].append(check.engine([image(side, steps, guidance)]))
            idle = check.idle_share()
            a_bare, an_engine = (_slope(times, few, many) for times in (bare, engine))
            say(
                check.stage,
                f"step {side}, guidance {guidance:g}",
                an_engine,
                "s",
                bare=round(a_bare, 4),
                over_bare_percent=round(100 * (an_engine / a_bare - 1), 2),
                engine_image=round(min(engine[many]), 4),
                bare_image=round(min(bare[many]), 4),
                idle_between_forwards_percent=round(100 * idle, 2),
            )


def _slope(times: dict[int, list[float]], few: int, many: int) -> float:
    return (min(times[many]) - min(times[few])) / (many - few)


def batches(check: Check) -> None:
    """Say the seconds of a forward by batch, alone and with texts of two lengths (masked), and who waits for whom."""
    merger, forward = check.served.merger, check.served.forward
    assert merger is not None
    for side, sizes in check.scale.batches.items():
        call, other = call_of(check, side), call_of(check, side, LONG_PROMPT)
        alone = 0.0
        for batch in sizes:
            if check.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            try:
                seconds = seconds_of(forward, call if batch == 1 else merger.merge([call] * batch))
                masked = seconds_of(forward, merger.merge([call, other] * (batch // 2))) if batch > 1 else None
            except torch.OutOfMemoryError as error:
                say(check.stage, f"forward {side} x {batch}", "out of memory", note=str(error)[:200])
                break
            alone = alone or seconds
            finite = bool(torch.isfinite(forward(**call)[0]).all()) if batch == 1 else None
            peak = torch.cuda.max_memory_allocated() / 2**30 if check.device.type == "cuda" else 0.0
            say(
                check.stage,
                f"forward {side} x {batch}",
                1000 * seconds,
                "ms",
                gain=round(batch * alone / seconds, 2),
                finite=finite,
                masked_ms=round(1000 * masked, 2) if masked else None,
                peak_gib=round(peak, 2),
                tokens=merger.token_count(call),
            )
        check.wait()
        began = time.perf_counter()
        check.pipeline.transformer(**call)
        told = time.perf_counter()
        check.wait()
        done = time.perf_counter()
        say(
            check.stage,
            f"host's part of a forward {side} x 1",
            1000 * (told - began),
            "ms",
            whole_ms=round(1000 * (done - began), 2),
            host_bound=(told - began) > 0.9 * (done - began),
        )


def syncs(check: Check) -> None:
    """Say where the host waits for the card within an image, beside the forward's own synchronisation."""
    if check.device.type != "cuda":
        say(check.stage, "implicit synchronisations", "needs a card")
        return
    side = min(check.scale.sides)
    check.engine([image(side, 2)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            check.engine([dataclasses.replace(image(side, 6, 4.0, prompt="never seen"), previews=1)])
            alone = Counter(_place(each) for each in caught)
            caught.clear()
            check.engine([image(side, 4, prompt=text) for text in ("short", LONG_PROMPT)])
            merged = Counter(_place(each) for each in caught)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    say(
        check.stage,
        "implicit synchronisations, 6 steps with guidance",
        sum(alone.values()),
        places=alone.most_common(12),
    )
    say(
        check.stage,
        "implicit synchronisations, 2 images of 4 steps",
        sum(merged.values()),
        places=merged.most_common(12),
    )


def _place(warning: Any) -> str:
    return f"{'/'.join(Path(warning.filename).parts[-2:])}:{warning.lineno}"


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
