"""Which memory plan a model is loaded with: the fastest that fits, or the one that was asked for."""

from typing import Literal

import torch

from imageserver.engine.devices import devices
from imageserver.engine.devices.memory_needs import ModelWeights, need_of
from imageserver.engine.devices.memory_plans import BY_NAME, NOT_AUTOMATIC, PLANS, MemoryPlan, obstacle
from imageserver.generation import MemoryPlanName

GIB = 1024**3


class NoPlanFits(Exception):
    """The memory cannot hold the model this way; the message, one sentence, names the plans that would fit."""


def choose(
    wanted: MemoryPlanName | Literal["auto"], model: str, weights: ModelWeights, dtype: torch.dtype,
    device: torch.device, pixels: int, reclaimable: int = 0, cards: int = 1,
) -> tuple[MemoryPlan, str]:  # fmt: skip
    """Return the plan and, in one sentence or two, the reason for it; raises NoPlanFits.

    `auto` is the fastest plan that fits, if need be with images of `pixels` decoded in tiles: that costs less than a
    slower plan. A plan that this device, one of so many `cards`, does not support is refused. `reclaimable` bytes count
    as free: those of models that would be unloaded.
    """
    free = devices.free_memory(device) + reclaimable
    usable = [plan for plan in PLANS if _obstacle(plan, weights, device, cards) is None]
    fitting = [plan for plan in usable if fits(plan, weights, dtype, device, pixels, reclaimable, cards=cards)]
    whole = need_of(PLANS[0], weights, dtype, pixels).device
    memory = f"{model} needs about {whole / GIB:.1f} GiB and {devices.gpu_name(device)} has {free / GIB:.1f} GiB free"
    if wanted != "auto":
        plan = BY_NAME[wanted]
        reason = _obstacle(plan, weights, device, cards)
        if reason is not None:
            raise NoPlanFits(f"MEMORY={wanted} is not possible here: {reason}.")
        if plan not in fitting:
            raise NoPlanFits(f"{memory}, too little for MEMORY={wanted}: {_advice(fitting)}.")
        sentence = f"MEMORY={wanted} was asked for: {plan.sentence}."
    else:
        automatic = [plan for plan in fitting if plan.name not in NOT_AUTOMATIC]
        if not automatic:
            raise NoPlanFits(f"{memory}: {_advice(fitting)}.")
        plan = automatic[0]
        why = "" if plan is PLANS[0] else f"{memory}, so "
        name = "" if plan is PLANS[0] else f" (MEMORY={plan.name})"
        sentence = f"MEMORY=auto: {why}{plan.sentence}{name}."
    if not fits(plan, weights, dtype, device, pixels, reclaimable, tiled=False, cards=cards):
        sentence += " Large images will probably be decoded in tiles."
    return plan, sentence


def fits(
    plan: MemoryPlan, weights: ModelWeights, dtype: torch.dtype, device: torch.device, pixels: int,
    reclaimable: int = 0, *, tiled: bool = True, cards: int = 1,
) -> bool:  # fmt: skip
    """Return whether there is the memory for a plan, `reclaimable` bytes more than are free."""
    need = need_of(plan, weights, dtype, pixels, tiled=tiled, cards=cards)
    used = devices.all_of_kind(device) if plan.spread else [device]
    if need.device > reclaimable + sum(map(devices.free_memory, used)):
        return False
    # Where the memory is the same, what loading reads is a copy of files that the system may drop at any time.
    return devices.shares_memory(device) or need.ram <= reclaimable + devices.free_memory(torch.device("cpu"))


def _obstacle(plan: MemoryPlan, weights: ModelWeights, device: torch.device, cards: int) -> str | None:
    found = obstacle(plan, device, cards)
    if found is None and plan.sharded and not weights.divisible:
        return "it needs a transformer that lies unquantized in the model's folder"
    return found


def _advice(fitting: list[MemoryPlan]) -> str:
    names = " or ".join(f"MEMORY={plan.name}" for plan in fitting)
    return f"what fits is {names}" if names else "choose a quantized or smaller model, or MODEL=demo"
