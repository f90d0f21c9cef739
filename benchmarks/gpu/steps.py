"""The full-size Qwen-Image with random weights in one process: bare `pipe()` against the engine on the same weights.

`--tiny` builds a small one, on a CPU where there is no card. Parts are run in the order in which they are named.
"""

import argparse
import contextlib
import dataclasses
import statistics
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from benchmarks import full_size
from benchmarks.gpu.figures import say
from benchmarks.servers.generating import Wanted
from benchmarks.servers.generating import generate as generate_bare
from imageserver.engine.devices import memory_plans
from imageserver.engine.devices.batch_limits import seconds_of
from imageserver.engine.models.acceleration import accelerate
from imageserver.engine.models.model_pool import ModelPool, open_model_pool
from imageserver.engine.models.warmup import capture_call, suspended_call
from imageserver.engine.pipelines import single_frame_vae
from imageserver.generation import Generation
from imageserver.protocol.messages import Failed, Finished, Message, Run
from imageserver.settings import Settings

DEMO = Path("imageserver/demo_model").resolve()
SMALL = {"num_layers": 2, "num_attention_heads": 2, "joint_attention_dim": 896}
LONG_PROMPT = ", ".join(["a red circle on a blue background"] * 6)


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much is measured: sides with the two numbers of steps whose difference gives one step, and batches."""

    sides: dict[int, tuple[int, int]]
    batches: dict[int, tuple[int, ...]]
    clients: int
    client_steps: int
    large_steps: int


FULL = Scale(
    sides={512: (4, 16), 1024: (3, 9), 1328: (2, 6)},
    batches={512: (1, 2, 4, 8, 16), 768: (1, 2, 4), 1024: (1, 2, 4), 1328: (1, 2)},
    clients=16, client_steps=8, large_steps=24,
)  # fmt: skip
TINY = Scale(
    sides={64: (2, 6), 128: (2, 6)}, batches={64: (1, 2), 128: (1, 2)}, clients=4, client_steps=2, large_steps=24
)


class Check:
    """One pipeline, bare and in a workshop; the gate lets calls from outside a track pass."""

    def __init__(self, scale: Scale, *, tiny: bool, compiled: bool) -> None:
        self.scale = scale
        self.stage = "compile" if compiled else "steps"
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        began = time.monotonic()
        self.pipeline = full_size.build(DEMO, str(self.device), **(SMALL if tiny else {}))
        self.pipeline.set_progress_bar_config(disable=True)
        self.wait()
        say(self.stage, "building the model", time.monotonic() - began, "s", allocated_gib=self.held(), tiny=tiny)
        self.spans: list[tuple[float, float, Sequence[tuple[int, int]]]] = []
        # When each job's last message came, and what it was.
        self.ended: dict[int, tuple[float, Message]] = {}
        loader: Any = diffusers.DiffusionPipeline
        loader.from_pretrained = lambda *_arguments, **_options: self.pipeline
        self.pool = self._open(compiled)
        [facts] = self.pool.held
        self.name = facts.name
        self.served = self.pool.turns._models[self.name]
        say(self.stage, "opening the workshop", facts.load_time, "s", caps=facts.batch_caps, gpu=facts.gpu,
            max_in_flight=facts.max_in_flight, memory_mb=facts.memory_mb, dtype=facts.dtype,
            plan=facts.memory_plan)  # fmt: skip

    def _open(self, compiled: bool) -> ModelPool:
        state = Path(tempfile.mkdtemp(prefix="check-"))
        largest = max(self.scale.sides) ** 2
        settings = Settings(
            model=str(DEMO), device=str(self.device.type), dtype="bfloat16", state_dir=state, compile=compiled,
            max_pixels=max(largest, 64 * 64), offline=True,
        )  # fmt: skip

        def report(phase: str, sentence: str, fraction: float | None) -> None:
            """Tell nobody."""

        def trace(began: float, ended: float, calls: Sequence[tuple[int, int]]) -> None:
            self.spans.append((began, ended, calls))

        def send(message: Message, raw: bytes) -> None:
            if isinstance(message, Finished | Failed):
                self.ended[message.job] = time.perf_counter(), message

        return open_model_pool(settings, report, send, trace)

    def wait(self) -> None:
        """Wait for the card."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def held(self) -> float:
        """Return the GiB that tensors hold on the card."""
        return round(torch.cuda.memory_allocated() / 2**30, 2) if self.device.type == "cuda" else 0.0

    def bare(self, side: int, steps: int, guidance: float = 1.0, count: int = 1) -> float:
        """Return the seconds of `count` bare images, one after the other."""
        self.wait()
        began = time.perf_counter()
        for index in range(count):
            generate_bare(self.pipeline, [Wanted("a red circle", index, steps, side, side, guidance)])
        self.wait()
        return time.perf_counter() - began

    def engine(self, wanted: Sequence[Generation], on_turn: Callable[[int], None] = lambda turn: None) -> float:
        """Return the seconds until the engine has sent all images; `on_turn` is called before every turn."""
        self.ended.clear()
        self.spans.clear()
        began = time.perf_counter()
        for job, generation in enumerate(wanted):
            self.add(job, generation)
        turn = 0
        while self.pool.turns.busy:
            on_turn(turn)
            self.pool.turns.step()
            turn += 1
        return max(self.end_of(job) for job in range(len(wanted))) - began

    def add(self, job: int, generation: Generation) -> None:
        """Give the engine a job."""
        self.pool.add(Run(job=job, generation=dataclasses.replace(generation, model=self.name)), b"")

    def end_of(self, job: int) -> float:
        """Return when an image was sent, waiting for it; raises RuntimeError for a failure."""
        deadline = time.perf_counter() + 60
        while job not in self.ended and time.perf_counter() < deadline:
            time.sleep(0.001)
        moment, message = self.ended[job]
        if isinstance(message, Failed):
            raise RuntimeError(message.sentence)
        return moment

    def idle_share(self) -> float:
        """Return the share of the time between the first and the last forward that no forward filled."""
        spans = sorted(self.spans)
        total = spans[-1][1] - spans[0][0]
        return 1 - sum(ended - began for began, ended, _ in spans) / total if total else 0.0


def widen_vocabulary(stage: str) -> None:
    """Let the text encoder know every token of the demo model's tokenizer, where the project has not seen to it yet."""
    stock = full_size._text_config
    tokens = len(transformers.AutoTokenizer.from_pretrained(str(DEMO / "tokenizer")))
    if stock(896).text_config.vocab_size >= tokens:
        return

    def wider(width: int) -> Any:
        config = stock(width)
        config.text_config.vocab_size = tokens
        return config

    full_size._text_config = wider
    say(stage, "benchmarks/full_size.py", "has fewer tokens than its tokenizer; widened here", tokens=tokens)


def image(side: int, steps: int, guidance: float = 1.0, seed: int = 0, prompt: str = "a red circle") -> Generation:
    """Return a generation."""
    return Generation(
        prompt=prompt, negative_prompt=" ", width=side, height=side, steps=steps, true_cfg_scale=guidance, seed=seed
    )


def call_of(check: Check, side: int, prompt: str = "") -> dict[str, Any]:
    """Return the arguments of a forward; the project captures them at a single step, whose time the scheduler makes NaN.

    Numbers that are all NaN can compute faster than real ones.
    """
    painter = check.served.painter
    if prompt:
        with suspended_call(painter, side, prompt) as arguments:
            captured = arguments
    else:
        captured = capture_call(painter, side)
    return {**captured, "timestep": torch.full_like(captured["timestep"], 0.5)}


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
            say(check.stage, f"step {side}, guidance {guidance:g}", an_engine, "s", bare=round(a_bare, 4),
                over_bare_percent=round(100 * (an_engine / a_bare - 1), 2), engine_image=round(min(engine[many]), 4),
                bare_image=round(min(bare[many]), 4), idle_between_forwards_percent=round(100 * idle, 2))  # fmt: skip


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
            say(check.stage, f"forward {side} x {batch}", 1000 * seconds, "ms", gain=round(batch * alone / seconds, 2), finite=finite,
                masked_ms=round(1000 * masked, 2) if masked else None, peak_gib=round(peak, 2),
                tokens=merger.token_count(call))  # fmt: skip
        check.wait()
        began = time.perf_counter()
        check.pipeline.transformer(**call)
        told = time.perf_counter()
        check.wait()
        done = time.perf_counter()
        say(check.stage, f"host's part of a forward {side} x 1", 1000 * (told - began), "ms",
            whole_ms=round(1000 * (done - began), 2), host_bound=(told - began) > 0.9 * (done - began))  # fmt: skip


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


def clients(check: Check) -> None:
    """Say images a second of sixteen jobs at once, against one `pipe()` after the other."""
    side, steps, count = min(check.scale.sides), check.scale.client_steps, check.scale.clients
    check.engine([image(side, steps, seed=seed) for seed in range(count)])
    seconds = check.engine([image(side, steps, seed=seed) for seed in range(count)])
    largest = max(len(calls) for _, _, calls in check.spans)
    idle = check.idle_share()
    some = max(1, count // 4)
    one_by_one = check.bare(side, steps, count=some) * count / some
    say(check.stage, f"{count} images {side}, {steps} steps, at once", count / seconds, "/s", bare=round(count / one_by_one, 3),
        gain=round(one_by_one / seconds, 2), largest_batch=largest, outside_forwards_percent=round(100 * idle, 2))  # fmt: skip


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
    say(check.stage, f"small image {small_side} during one of {large_side}", max(took), "s", alone=round(alone, 4),
        ratio=round(max(took) / alone, 2), all=took, the_large_one=round(whole, 2))  # fmt: skip


def decode_charge(check: Check) -> None:
    """Say whether decoding, which the host does not wait for, is told with its own image or with its neighbour's."""
    small_side, large_side = min(check.scale.sides), max(check.scale.sides)
    seconds = check.engine([image(large_side, 2)])
    _, message = check.ended[0]
    told = message.outcome.inference_time if isinstance(message, Finished) else 0.0
    check.engine([image(large_side, 2), image(small_side, 12)])
    own = [ended - began for began, ended, calls in check.spans if calls[0][0] == 1]
    say(check.stage, f"image {large_side} of 2 steps", seconds, "s", told=round(told, 4))
    say(check.stage, f"longest forward of a {small_side} beside a decode of {large_side}", 1000 * max(own), "ms",
        median_ms=round(1000 * statistics.median(own), 2))  # fmt: skip


def memory(check: Check) -> None:
    """Say what is left behind: after images, after one that is cancelled, and after the model is unloaded."""
    side = min(check.scale.sides)
    before = check.held()
    check.engine([image(side, 2, seed=1)])
    check.add(900, image(side, 20, seed=2))
    check.pool.turns.step()
    check.pool.turns.cancel(900)
    told = [each.outcome.vram_peak_mb for _, each in check.ended.values() if isinstance(each, Finished)]
    if check.device.type == "cuda":
        reserved = torch.cuda.memory_reserved() / 2**30
        free = torch.cuda.mem_get_info()[0] / 2**30
        say(check.stage, "memory after images and a cancel", check.held(), "GiB", before=before, told_mb=told,
            reserved=round(reserved, 2), free_for_the_driver=round(free, 2))  # fmt: skip
    check.served = None  # type: ignore[assignment]
    check.pipeline = None
    loader: Any = diffusers.DiffusionPipeline
    loader.from_pretrained = None
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


def int8(check: Check) -> None:
    """Say what weights of 8 bits cost, with the configuration of MEMORY=int8; the model stays quantized."""
    try:
        from torchao.quantization import quantize_

        config = memory_plans.quantization_of(memory_plans.BY_NAME["int8"], "diffusers").quant_type
        quantize_(check.pipeline.transformer, config)
        for side in sorted(check.scale.sides)[:2]:
            seconds = seconds_of(check.served.forward, call_of(check, side))
            say(check.stage, f"int8 forward {side}", 1000 * seconds, "ms", held_gib=check.held())
    except Exception as error:
        say(check.stage, "int8", "fails", note=f"{type(error).__name__}: {error}"[:300])


def shapes(check: Check) -> None:
    """Say how long the first forward of every new kind takes, and how often it compiled: what a client would wait."""
    from torch._dynamo.utils import counters

    merger, forward = check.served.merger, check.served.forward
    assert merger is not None
    for side in list(check.scale.sides)[:2]:
        call, other = call_of(check, side), call_of(check, side, LONG_PROMPT)
        for name, wanted in (
            ("one", call), ("one, longer text", other), ("two", merger.merge([call] * 2)),
            ("four", merger.merge([call] * 4)), ("two, masked", merger.merge([call, other])),
        ):  # fmt: skip
            before = sum(counters["stats"].values())
            began = time.perf_counter()
            forward(**wanted)
            first = time.perf_counter() - began
            say(check.stage, f"first forward {side}, {name}", first, "s", then_ms=round(1000 * seconds_of(forward, wanted), 2),
                compiled=sum(counters["stats"].values()) - before)  # fmt: skip


def graphs(check: Check) -> None:
    """Say what a forward costs whose launches were captured once (CUDA graphs), against the eager one."""
    merger = check.served.merger
    transformer = check.pipeline.transformer
    for side, sizes in ((512, (1, 2, 4)), (768, (1,)), (1024, (1,))):
        call = call_of(check, side)
        for batch in sizes:
            try:
                wanted = call if batch == 1 else merger.merge([call] * batch)
                eager = transformer(**wanted)[0].clone()
                before = torch.cuda.memory_reserved()
                began = time.perf_counter()
                stream = torch.cuda.Stream()
                stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(stream):
                    transformer(**wanted)
                torch.cuda.current_stream().wait_stream(stream)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    output = transformer(**wanted)[0]
                check.wait()
                captured = time.perf_counter() - began
                graph.replay()
                check.wait()
                equal = bool(torch.equal(output, eager))
                times = []
                for _ in range(5):
                    check.wait()
                    began = time.perf_counter()
                    graph.replay()
                    check.wait()
                    times.append(time.perf_counter() - began)
                seconds = seconds_of(check.served.forward, wanted)
                say(check.stage, f"graph {side} x {batch}", 1000 * min(times), "ms", eager_ms=round(1000 * seconds, 2),
                    capture_s=round(captured, 2), equal=equal,
                    reserved_more_gib=round((torch.cuda.memory_reserved() - before) / 2**30, 2))  # fmt: skip
                del graph, output
            except Exception as error:
                say(check.stage, f"graph {side} x {batch}", "fails", note=f"{type(error).__name__}: {error}"[:300])


PARTS: dict[str, Callable[[Check], None]] = {
    part.__name__: part
    for part in (
        step_times,
        batches,
        syncs,
        decoding,
        decode_charge,
        clients,
        interruption,
        attention,
        shapes,
        graphs,
        int8,
        memory,
    )  # fmt: skip
}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("parts", nargs="+", choices=PARTS)
    chosen = parser.parse_args()
    if chosen.compile:
        # GPU_REVIEW A1 5: the fix, tried beforehand.
        torch.fx.experimental._config.use_duck_shape = False
        torch._dynamo.config.recompile_limit = 64
        torch._dynamo.config.accumulated_recompile_limit = 512
    check = Check(TINY if chosen.tiny else FULL, tiny=chosen.tiny, compiled=chosen.compile)
    for name in chosen.parts:
        with _told(check.stage, name):
            PARTS[name](check)


@contextlib.contextmanager
def _told(stage: str, name: str) -> Iterator[None]:
    """Say how long a part took; its failure is a finding too, and no reason to lose the others."""
    began = time.monotonic()
    try:
        yield
    except Exception as error:
        say(stage, f"part {name} failed", f"{type(error).__name__}: {error}"[:400])
        traceback.print_exc()
    say(stage, f"part {name}", time.monotonic() - began, "s")


if __name__ == "__main__":
    main()
