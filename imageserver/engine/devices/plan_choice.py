"""Which memory plan a model is loaded with: the fastest that fits, or the one that was asked for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from imageserver.engine.devices import devices
from imageserver.engine.devices.memory_needs import MemoryNeed, ModelWeights, need_of
from imageserver.engine.devices.memory_plans import BY_NAME, NOT_AUTOMATIC, PLANS, MemoryPlan, obstacle
from imageserver.generation import MemoryPlanName

GIB = 1024**3


class NoPlanFits(Exception):
    """The memory cannot hold the model this way; the message, one sentence, names the plans that would fit."""


@dataclass(frozen=True)
class Room:
    """A model's weights, the pixels of its images, and the memory for both.

    `reclaimable` bytes count as free: those of models that would be unloaded. The device is one of so many `cards`.
    """

    weights: ModelWeights
    dtype: torch.dtype
    device: torch.device
    pixels: int
    reclaimable: int = 0
    cards: int = 1

    def fits(self, plan: MemoryPlan, *, tiled: bool = True) -> bool:
        """Return whether there is the memory for a plan, with images decoded in tiles or as a whole."""
        return self._device_holds(plan, tiled=tiled) and (self._need(plan).ram <= self._free_ram or self._is_shared)

    def usable(self) -> list[MemoryPlan]:
        """Return the plans that the device supports, the fastest first."""
        return [plan for plan in PLANS if self.obstacle(plan) is None]

    def obstacle(self, plan: MemoryPlan) -> str | None:
        """Return why a plan cannot be used here, whatever is free; None where it can."""
        found = obstacle(plan, self.device, self.cards)
        if found is None and plan.sharded and not self.weights.divisible:
            return "it needs a transformer that lies unquantized in the model's folder"
        return found

    def whole(self, model: str) -> str:
        """Return what the whole model needs on the device, and what that has."""
        needed = need_of(PLANS[0], self.weights, self.dtype, self.pixels).device
        controls = f", {self.weights.resident / GIB:.1f} of them for CONTROLNET," if self.weights.resident else ""
        free = devices.free_memory(self.device) + self.reclaimable
        return (
            f"{model} needs about {needed / GIB:.1f} GiB{controls} and {devices.gpu_name(self.device)} has "
            f"{free / GIB:.1f} GiB free"
        )

    def lacking_ram(self, plans: Iterable[MemoryPlan]) -> str:
        """Return how much RAM the most frugal of the plans needs that the device holds; empty where none is held."""
        held = [plan for plan in plans if self._device_holds(plan)]
        if not held or self._is_shared:
            return ""
        plan = min(held, key=lambda each: self._need(each).ram)
        needed, free = self._need(plan).ram, self._free_ram
        return f"MEMORY={plan.name} needs about {needed / GIB:.1f} GiB of RAM, which has {free / GIB:.1f} GiB free"

    def advice(self, tried: Sequence[MemoryPlan]) -> str:
        """Return what to do where none of the plans that were `tried` fits."""
        names = " or ".join(f"MEMORY={plan.name}" for plan in self.usable() if self.fits(plan))
        if names:
            return f"what fits is {names}"
        if not self.weights.resident:
            return "choose a quantized or smaller model, or MODEL=demo"
        bare = replace(self, weights=replace(self.weights, resident=0))
        if any(map(bare.fits, tried)):
            return "leave CONTROLNET empty, or choose a smaller ControlNet or model"
        return "choose a quantized or smaller model"

    def _need(self, plan: MemoryPlan, *, tiled: bool = True) -> MemoryNeed:
        return need_of(plan, self.weights, self.dtype, self.pixels, tiled=tiled, cards=self.cards)

    def _device_holds(self, plan: MemoryPlan, *, tiled: bool = True) -> bool:
        used = devices.all_of_kind(self.device) if plan.spread else [self.device]
        return self._need(plan, tiled=tiled).device <= self.reclaimable + sum(map(devices.free_memory, used))

    @property
    def _free_ram(self) -> int:
        return devices.free_memory(torch.device("cpu")) + self.reclaimable

    @property
    def _is_shared(self) -> bool:
        # Where the memory is the same, what loading reads is a copy of files that the system may drop at any time.
        return devices.shares_memory(self.device)


def choose(wanted: MemoryPlanName | Literal["auto"], model: str, room: Room) -> tuple[MemoryPlan, str]:
    """Return the plan and, in one sentence or two, the reason for it; raises NoPlanFits.

    `auto` is the fastest plan that fits, if need be with images decoded in tiles: that costs less than a slower plan.
    A plan that the device does not support is refused.
    """
    memory = room.whole(model)
    if wanted != "auto":
        plan = BY_NAME[wanted]
        reason = room.obstacle(plan)
        if reason is not None:
            raise NoPlanFits(f"MEMORY={wanted} is not possible here: {reason}.")
        if not room.fits(plan):
            why = room.lacking_ram([plan]) or f"{memory}, too little for MEMORY={wanted}"
            raise NoPlanFits(f"{why}: {room.advice([plan])}.")
        sentence = f"MEMORY={wanted} was asked for: {plan.sentence}."
    else:
        automatic = [plan for plan in room.usable() if plan.name not in NOT_AUTOMATIC]
        found = next(filter(room.fits, automatic), None)
        if found is None:
            why = ", and ".join(filter(None, (memory, room.lacking_ram(automatic))))
            raise NoPlanFits(f"{why}: {room.advice(automatic)}.")
        plan = found
        why = "" if plan is PLANS[0] else f"{memory}, so "
        name = "" if plan is PLANS[0] else f" (MEMORY={plan.name})"
        sentence = f"MEMORY=auto: {why}{plan.sentence}{name}."
    if not room.fits(plan, tiled=False):
        sentence += " Large images will probably be decoded in tiles."
    return plan, sentence
