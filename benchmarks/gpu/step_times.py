"""What a step takes on the device: bare and in the engine, by batch, and where the host waits for it."""

import dataclasses
import statistics
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_qwenimage import compute_text_seq_len_from_mask

from benchmarks.gpu.check import LONG_PROMPT, Check, call_of, image
from benchmarks.gpu.figures import say
from imageserver.engine.devices.batch_limits import seconds_of


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
    _mask(check)
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


def _mask(check: Check) -> None:
    """Say what diffusers' own reading of a mask takes at the begin of each masked forward, where it waits once."""
    texts = torch.zeros(2, 64, 8, device=check.device)
    mask = torch.ones(2, 64, dtype=torch.long, device=check.device)
    times = []
    for _ in range(20):
        check.wait()
        began = time.perf_counter()
        compute_text_seq_len_from_mask(texts, mask)
        check.wait()
        times.append(time.perf_counter() - began)
    say(check.stage, "reading the mask of a shared forward", 1e6 * statistics.median(times), "us")


def _place(warning: Any) -> str:
    return f"{'/'.join(Path(warning.filename).parts[-2:])}:{warning.lineno}"
