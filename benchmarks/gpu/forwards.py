"""What single parts of a generation cost on the device: decoding, attention, captured and compiled forwards."""

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.gpu.check import LONG_PROMPT, Check, call_of, image
from benchmarks.gpu.figures import say
from imageserver.engine.capturing.captured_forwards import EAGER_CALLS, CapturedForwards
from imageserver.engine.capturing.cuda_graphs import CudaGraphs
from imageserver.engine.devices.batch_limits import seconds_of
from imageserver.engine.models.acceleration import accelerate
from imageserver.engine.models.compiling.recompilations import compiled_graphs
from imageserver.engine.pipelines.decoding import single_frame_vae
from imageserver.protocol.messages import Finished
from imageserver.settings import Settings

MAX_GRAPH_BYTES = 8 * 2**30


def decoding(check: Check) -> None:
    """Say what decoding costs: as diffusers does it, in two dimensions, and without the frames that never come."""
    vae = check.pipeline.vae
    decode = getattr(vae.decode, "whole", vae.decode)

    def straight(latents: torch.Tensor) -> torch.Tensor:
        return vae.decoder(vae.post_quant_conv(latents), feat_cache=None, feat_idx=[0])

    for side in check.scale.sides:
        latents = torch.randn(1, 16, 1, side // 8, side // 8, device=check.device, dtype=vae.dtype)
        for name, install, work in (
            ("stock", single_frame_vae.uninstall, lambda value: decode(value, return_dict=False)[0]),
            ("2-D", single_frame_vae.install, lambda value: decode(value, return_dict=False)[0]),
            ("2-D, no frame cache", single_frame_vae.install, straight),
        ):
            install()
            seconds, peak = _timed(check, lambda work=work, value=latents: work(value))
            say(check.stage, f"decode {side}, {name}", 1000 * seconds, "ms", peak_gib=peak)
    single_frame_vae.install()


def _timed(check: Check, work: Callable[[], Any]) -> tuple[float, float]:
    times = []
    before = check.held()
    if check.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(3):
        check.wait()
        began = time.perf_counter()
        work()
        check.wait()
        times.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated() / 2**30 - before if check.device.type == "cuda" else 0.0
    return min(times), round(peak, 2)


def memory(check: Check) -> None:
    """Say what is left behind: after images, after one that is cancelled, and after the model is unloaded."""
    side = min(check.scale.sides)
    before = check.held()
    check.engine([image(side, 2, seed=1)])
    check.add(900, image(side, 20, seed=2))
    check.pool.step_scheduler.step()
    check.pool.step_scheduler.cancel(900)
    told = [each.outcome.vram_peak_mb for _, each in check.ended.values() if isinstance(each, Finished)]
    if check.device.type == "cuda":
        reserved = torch.cuda.memory_reserved() / 2**30
        free = torch.cuda.mem_get_info()[0] / 2**30
        say(
            check.stage,
            "memory after images and a cancel",
            check.held(),
            "GiB",
            before=before,
            told_mb=told,
            reserved=round(reserved, 2),
            free_for_the_driver=round(free, 2),
        )
    check.served = None  # type: ignore[assignment]
    check.pipeline = None
    check.pool.unload(check.name)
    if check.device.type == "cuda":
        reserved = torch.cuda.memory_reserved() / 2**30
        say(check.stage, "memory after unloading", check.held(), "GiB", reserved=round(reserved, 2))
    else:
        say(check.stage, "memory after unloading", "needs a card")


def attention(check: Check) -> None:
    """Say what diffusers' other attention backends change, through the project's own setting."""
    for name in ("_native_cudnn", "_native_flash", "_native_efficient", "native"):
        for side in sorted(check.scale.sides)[-2:]:
            call = call_of(check, side)
            try:
                accelerate(check.pipeline.transformer, Settings(attention_backend=name), lambda *_: None)
                seconds = seconds_of(check.served.forward, call)
            except Exception as error:
                say(check.stage, f"attention {name}, {side}", "fails", note=f"{type(error).__name__}: {error}"[:200])
                continue
            say(check.stage, f"attention {name}, {side}", 1000 * seconds, "ms")


def shapes(check: Check) -> None:
    """Say how long the first forward of every new kind takes, and how often it compiled: what a client would wait."""
    merger, forward = check.served.merger, check.served.forward
    assert merger is not None
    for side in list(check.scale.sides)[:2]:
        call, other = call_of(check, side), call_of(check, side, LONG_PROMPT)
        for name, wanted in (
            ("one", call),
            ("one, longer text", other),
            ("two", merger.merge([call] * 2)),
            ("four", merger.merge([call] * 4)),
            ("two, masked", merger.merge([call, other])),
        ):
            before = compiled_graphs()
            began = time.perf_counter()
            forward(**wanted)
            first = time.perf_counter() - began
            say(
                check.stage,
                f"first forward {side}, {name}",
                first,
                "s",
                then_ms=round(1000 * seconds_of(forward, wanted), 2),
                compiled=compiled_graphs() - before,
            )


def graphs(check: Check) -> None:
    """Say what a forward costs that CUDA_GRAPHS=1 has captured, against the eager one; a masked one stays eager."""
    if check.device.type != "cuda":
        say(check.stage, "captured launches", "need a card")
        return
    merger = check.served.merger
    assert merger is not None
    captured = CapturedForwards(check.pipeline.transformer, CudaGraphs(check.device), MAX_GRAPH_BYTES)
    for side, batches in ((512, (1, 2, 4)), (768, (1,)), (1024, (1,))):
        call = call_of(check, side)
        for batch in batches:
            _graph(check, captured, f"{side} x {batch}", call if batch == 1 else merger.merge([call] * batch))
    _graph(check, captured, "512 x 2, masked", merger.merge([call_of(check, 512), call_of(check, 512, LONG_PROMPT)]))


def _graph(check: Check, captured: CapturedForwards, name: str, wanted: Any) -> None:
    eager = check.served.forward(**wanted)[0].clone()
    graphs, held = len(captured), captured.bytes
    began = time.perf_counter()
    for _ in range(EAGER_CALLS + 1):
        captured(**wanted)
    first = time.perf_counter() - began
    say(
        check.stage,
        f"graph {name}",
        1000 * seconds_of(captured, wanted),
        "ms",
        eager_ms=round(1000 * seconds_of(check.served.forward, wanted), 2),
        captured=len(captured) > graphs,
        first_calls_s=round(first, 2),
        equal=bool(torch.equal(captured(**wanted)[0], eager)),
        mib=round((captured.bytes - held) / 2**20),
    )
