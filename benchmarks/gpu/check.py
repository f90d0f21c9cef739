"""The full-size Qwen-Image with random weights in one process: bare `pipe()` against the engine on the same weights.

`--tiny` builds a small one, on a CPU where there is no card. Parts are run in the order in which they are named.
"""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import full_size
from benchmarks.gpu.figures import say
from benchmarks.servers.generating import Wanted
from benchmarks.servers.generating import generate as generate_bare
from imageserver.engine.models.initial_model import open_model_pool
from imageserver.engine.models.model_pool import ModelPool
from imageserver.engine.models.probe_calls import probe_call, suspended_call
from imageserver.generation import Generation
from imageserver.protocol.messages import Failed, Finished, Message, Run
from imageserver.settings import Settings

DEMO = Path("imageserver/demo_model").resolve()
# On a CPU, decoding 128x128 with the VAE in full takes a second and a half.
SMALL = {"num_layers": 2, "num_attention_heads": 2, "joint_attention_dim": 896, "vae_width": 16}
LONG_PROMPT = ", ".join(["a red circle on a blue background"] * 6)


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much is measured: sides with the two numbers of steps whose difference gives one step, and batches."""

    sides: dict[int, tuple[int, int]]
    batches: dict[int, tuple[int, ...]]
    clients: int
    client_steps: int
    large_steps: int
    guided_clients: int
    guided_steps: int
    mixed_jobs: int
    mixed_sides: tuple[int, ...]


FULL = Scale(
    sides={512: (4, 16), 1024: (3, 9), 1328: (2, 6)},
    batches={512: (1, 2, 4, 8, 16), 768: (1, 2, 4), 1024: (1, 2, 4), 1328: (1, 2)},
    clients=16,
    client_steps=8,
    large_steps=24,
    guided_clients=8,
    guided_steps=20,
    mixed_jobs=200,
    mixed_sides=(256, 384, 512, 640, 768, 1024),
)
TINY = Scale(
    sides={64: (2, 6), 128: (2, 6)},
    batches={64: (1, 2), 128: (1, 2)},
    clients=4,
    client_steps=2,
    large_steps=24,
    guided_clients=4,
    guided_steps=4,
    mixed_jobs=12,
    mixed_sides=(64, 96, 128),
)


class Check:
    """One pipeline, bare and in an engine's model pool; the gate lets calls from outside a track pass."""

    def __init__(self, scale: Scale, stage: str, *, tiny: bool, compiled: bool) -> None:
        self.scale = scale
        self.stage = stage
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        began = time.monotonic()
        self.pipeline = full_size.build(DEMO, str(self.device), **(SMALL if tiny else {}))
        self.pipeline.set_progress_bar_config(disable=True)
        self.wait()
        say(self.stage, "building the model", time.monotonic() - began, "s", allocated_gib=self.held(), tiny=tiny)
        self.spans: list[tuple[float, float, Sequence[tuple[int, int]]]] = []
        # When each job's last message came, and what it was.
        self.ended: dict[int, tuple[float, Message]] = {}
        full_size.replace_loading(lambda: self.pipeline)
        self.pool = self._open(compiled)
        [info] = self.pool.loaded
        self.name = info.name
        self.served = self.pool.served_model(self.name)
        say(
            self.stage,
            "loading it in the engine",
            info.load_time,
            "s",
            caps=info.device.batch_caps,
            gpu=info.device.gpu,
            max_in_flight=info.device.max_in_flight,
            memory_mb=info.device.memory_mb,
            dtype=info.device.dtype,
            plan=info.device.memory_plan,
        )

    def _open(self, compiled: bool) -> ModelPool:
        state = Path(tempfile.mkdtemp(prefix="check-"))
        largest = max(self.scale.sides) ** 2
        settings = Settings(
            model=str(DEMO),
            device=str(self.device.type),
            dtype="bfloat16",
            state_dir=state,
            compile=compiled,
            max_pixels=max(largest, 64 * 64),
            offline=True,
        )

        def report(phase: str, sentence: str, fraction: float | None) -> None:
            """Nobody waits for the model here."""

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

    def cached(self) -> float:
        """Return the GiB that PyTorch has reserved on the card and no tensor holds."""
        if self.device.type != "cuda":
            return 0.0
        return (torch.cuda.memory_reserved() - torch.cuda.memory_allocated()) / 2**30

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
        while self.pool.step_scheduler.busy:
            on_turn(turn)
            self.pool.step_scheduler.step()
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


def image(side: int, steps: int, guidance: float = 1.0, seed: int = 0, prompt: str = "a red circle") -> Generation:
    return Generation(
        prompt=prompt, negative_prompt=" ", width=side, height=side, steps=steps, true_cfg_scale=guidance, seed=seed
    )


def call_of(check: Check, side: int, prompt: str = "") -> dict[str, Any]:
    """Return the arguments of a forward; the engine captures them at a single step, whose time the scheduler makes NaN.

    Numbers that are all NaN can compute faster than real ones.
    """
    runner = check.served.runner
    if prompt:
        with suspended_call(runner, side, prompt) as arguments:
            captured = arguments
    else:
        captured = probe_call(runner, side)
    return {**captured, "timestep": torch.full_like(captured["timestep"], 0.5)}
