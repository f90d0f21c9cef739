"""Weights of 8 bits: what a forward takes with them, eager and compiled, and how far they lead an image away."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks import full_size
from benchmarks.gpu.check import Check, call_of
from benchmarks.gpu.figures import say
from benchmarks.servers.generating import Wanted, generate
from imageserver.engine.devices import memory_plans, placement
from imageserver.engine.devices.batch_limits import seconds_of
from imageserver.engine.models.acceleration import accelerate
from imageserver.engine.models.compiling.recompilations import compiled_graphs
from imageserver.settings import Settings

STANCES = {"": "force_eager", ", compiled": "default"}


@dataclass(frozen=True)
class Generated:
    """The pixels of an image, and what one forward of each size returns."""

    image: np.ndarray
    outputs: dict[int, torch.Tensor]

    @classmethod
    def by(cls, check: Check) -> "Generated":
        side, (steps, _) = min(check.scale.sides.items())
        [image] = generate(check.pipeline, [Wanted("a red circle", 0, steps, side, side, 1.0)])
        outputs = {side: check.served.forward(**call_of(check, side))[0].float() for side in measured_sides(check)}
        return cls(np.asarray(image).astype(int), outputs)

    def image_distance(self, exact: "Generated") -> float:
        """Return the mean distance of the pixels, of 255."""
        return round(float(np.abs(self.image - exact.image).mean()), 3)

    def output_distance(self, exact: "Generated", side: int) -> float:
        """Return the distance of a forward's output, in percent of its length."""
        difference = self.outputs[side] - exact.outputs[side]
        return round(100 * float(difference.norm() / exact.outputs[side].norm()), 3)


def measured_sides(check: Check) -> list[int]:
    return sorted(check.scale.sides)[:2]


def eight_bits(check: Check) -> None:
    """Say what MEMORY=int8 and MEMORY=float8 make of the transformer; its blocks stay compiled."""
    transformer = check.pipeline.transformer
    exact = Generated.by(check)
    _say_forwards(check, "whole weights", exact)
    for name in ("int8", "float8"):
        plan = memory_plans.BY_NAME[name]
        if reason := memory_plans.obstacle(plan, check.device):
            for how in STANCES:
                say(check.stage, f"{name}{how}", "skipped", note=reason)
            continue
        try:
            _quantize(transformer, plan)
            accelerate(transformer, Settings(_env_file=None, compile=True), lambda *_: None)
            for how, stance in STANCES.items():
                with torch.compiler.set_stance(stance):
                    _say_forwards(check, f"{name}{how}", exact)
        except Exception as error:
            say(check.stage, name, "fails", note=f"{type(error).__name__}: {error}"[:300])
        restore(transformer)
    with torch.compiler.set_stance("force_eager"):
        again = Generated.by(check)
        side = min(check.scale.sides)
        say(
            check.stage,
            "distance of whole weights afterwards",
            again.output_distance(exact, side),
            "%",
            image_of_255=again.image_distance(exact),
        )


def restore(transformer: Any) -> None:
    """Make the weights of a quantized transformer as they were: random, from the same seed."""
    for linear in transformer.modules():
        if isinstance(linear, torch.nn.Linear):
            whole = torch.empty(
                linear.out_features, linear.in_features, dtype=torch.bfloat16, device=transformer.device
            )
            linear.weight = torch.nn.Parameter(whole, requires_grad=False)
    torch.manual_seed(full_size.SEED)
    full_size.randomize(transformer)


def _quantize(transformer: Any, plan: memory_plans.MemoryPlan) -> None:
    from torchao.quantization import quantize_

    quantize_(transformer, placement.quantization_of(plan, "diffusers").quant_type)


def _say_forwards(check: Check, name: str, exact: Generated) -> None:
    """Say the milliseconds of a forward by size, the memory at most, and the distance from whole weights.

    With the graphs that were compiled for it: what falls back to eager forwards is as close, and no faster.
    """
    before = compiled_graphs()
    generated = Generated.by(check)
    for side in measured_sides(check):
        call = call_of(check, side)
        if check.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = seconds_of(check.served.forward, call)
        peak = torch.cuda.max_memory_allocated() / 2**30 if check.device.type == "cuda" else None
        say(
            check.stage,
            f"{name}, forward {side}",
            1000 * seconds,
            "ms",
            held_gib=check.held(),
            peak_gib=peak and round(peak, 2),
            compiled_graphs=compiled_graphs() - before,
            output_distance_percent=generated.output_distance(exact, side),
            image_distance_of_255=generated.image_distance(exact),
        )
