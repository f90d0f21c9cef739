"""A model on a group of cards: loaded by every rank, and measured where ranks share the tokens of a forward."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from imageserver.engine.card_group.card_group import CardGroup
from imageserver.engine.card_group.context_parallel import can_divide, has_plan, heads_of
from imageserver.engine.card_group.group_forward import GroupForward
from imageserver.engine.card_group.lora_copies import LoraCopies
from imageserver.engine.card_group.messages import LoadDenoiser
from imageserver.engine.devices import memory_plans
from imageserver.engine.devices.batch_limits import MAX_FORWARD_SECONDS, PROBED_SIDES, Clock, Forward, seconds_of
from imageserver.engine.models.loading import LoadedModel
from imageserver.engine.models.model_choice import FoundModel
from imageserver.engine.runner.lora_adapters import LoraAdapters

logger = logging.getLogger(__name__)

# A smaller gain is not worth the other cards' time.
MIN_GAIN = 1.10
# Measuring them once they are back would hold up the images of that time.
BACK_LATER = (
    "Once the other cards are back, they take calls of a step. Several cards share one call only after the model is "
    "loaded again."
)


class SharedModel:
    """One model, as rank 0 has loaded it, on its way to the other ranks."""

    def __init__(self, group: CardGroup, found: FoundModel, model: LoadedModel) -> None:
        """Let the ranks load it beside whatever is measured meanwhile, unless it cannot be shared."""
        self._group = group
        self._found = found
        self._model = model
        self._denoiser = getattr(model.pipeline, model.family.denoiser)
        self.reason = _refusal(found, model)
        if self.reason:
            logger.warning("%s: %s", found.name, self.reason)
            return
        file = found.settings.transformer_file
        group.load(
            LoadDenoiser(
                model=found.name, denoiser=model.family.denoiser, folder=str(found.folder.resolve()),
                dtype=str(found.dtype).removeprefix("torch."), memory_plan=model.info.device.memory_plan,
                transformer_file=str(file) if file else None,
            )
        )  # fmt: skip

    def open(
        self, forward: Forward, adapters: LoraAdapters, probe: Callable[[int], Mapping[str, Any]]
    ) -> GroupForward | None:
        """Return the model's forwards on the group once the ranks have it; `probe(side)` gives a call to measure."""
        merger = self._model.family.merger
        if self.reason or merger is None:
            return None
        if not self._group.complete(self._found.name):
            self.reason = f"One card computes it: {self._group.loss}"
            return None
        copies = LoraCopies(self._found.name, self._denoiser, adapters)
        cards = GroupForward(self._group, self._found.name, self._denoiser, forward, merger, copies)
        self.reason = f"The calls of a step are computed on different cards: {' and '.join(self._group.in_use)}."
        if self._group.size == 1:
            self.reason = f"{self._group.devices[0]} computes alone: {self._group.loss}. {BACK_LATER}"
        elif self._found.settings.compile:
            self.reason += " With COMPILE=1 no card computes a part of a call."
        elif not has_plan(self._denoiser):
            self.reason += " diffusers cannot split a call of this model."
        else:
            self.reason += self._measured(cards, forward, probe)
        logger.info("%s", self.reason)
        return cards

    def _measured(self, cards: GroupForward, forward: Forward, probe: Callable[[int], Mapping[str, Any]]) -> str:
        """Measure how many cards compute one call faster than one; return it in sentences."""
        heads = heads_of(self._denoiser)
        degrees = [degree for degree in range(2, cards.size + 1) if cards.size % degree == 0]
        able = [degree for degree in degrees if all(can_divide(count, degree) for count in heads)]
        sentences = _sentence(measure(cards, able, forward, probe, self._found.settings.max_pixels)) if able else ""
        if others := " or ".join(str(degree) for degree in degrees if degree not in able):
            sentences += f" {others} cards cannot divide its {' and '.join(map(str, sorted(heads)))} attention heads."
        return sentences


def measure(
    cards: GroupForward, degrees: Sequence[int], forward: Forward, probe: Callable[[int], Mapping[str, Any]],
    max_pixels: int, clock: Clock = time.monotonic,
) -> dict[int, int]:  # fmt: skip
    """Find the sizes from which so many ranks compute one call faster than one; return their sides by ranks."""
    found: dict[int, tuple[int, int]] = {}
    for degree in degrees:
        for side in (side for side in PROBED_SIDES if side * side <= max_pixels):
            call = probe(side)
            alone = seconds_of(forward, call, clock)
            cards.shared_from = {degree: 0}
            together = seconds_of(lambda **arguments: cards.compute([arguments]), call, clock)
            if not cards.shared_from:
                return {}
            logger.info(
                "A %dx%d forward takes %.1f ms on %d cards and %.1f ms on one.",
                *(side, side, 1000 * together, degree, 1000 * alone),
            )
            if alone >= MIN_GAIN * together:
                found[degree] = side, cards.tokens_of(call)
                break
            if alone > MAX_FORWARD_SECONDS:
                break
    cards.shared_from = {degree: tokens for degree, (_, tokens) in found.items()}
    return {degree: side for degree, (side, _) in found.items()}


def _refusal(found: FoundModel, model: LoadedModel) -> str:
    """Return why the other cards of a group cannot help with a model; empty where they can."""
    plan = memory_plans.BY_NAME[model.info.device.memory_plan]
    if model.family.merger is None:
        return "One card computes it: its calls cannot be computed beside each other."
    if found.checkpoint is not None:
        return "One card computes it: other cards read a model's folder, not a single file."
    if plan.spread or plan.offload not in ("none", "encoder"):
        return f"One card computes it: with MEMORY={plan.name} the weights of the denoiser are moved or spread."
    return ""


def _sentence(sides: Mapping[int, int]) -> str:
    if not sides:
        return " No size gains where several cards compute one call."
    return "".join(
        f" {ranks} cards compute one call together from {side}x{side} pixels on." for ranks, side in sides.items()
    )
