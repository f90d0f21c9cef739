"""A model whose transformer no card holds alone: each card of the group loads a part and computes every forward."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from imageserver.engine.card_group.card_group import CardGroup
from imageserver.engine.card_group.lora_copies import LoraCopies
from imageserver.engine.card_group.messages import LoadDenoiser
from imageserver.engine.card_group.sharding.sharded_forward import ShardedForward
from imageserver.engine.devices.batch_limits import Forward
from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.models.loading import LoadedModel
from imageserver.engine.models.model_choice import FoundModel
from imageserver.engine.runner.lora_adapters import LoraAdapters

logger = logging.getLogger(__name__)


class ShardedModel:
    """One model; rank 0 has loaded its part."""

    def __init__(self, group: CardGroup, found: FoundModel, model: LoadedModel) -> None:
        """Wait until every rank has its part, and replace the denoiser's forward; raises ModelUnavailable."""
        self._name = found.name
        self._denoiser = getattr(model.pipeline, model.family.denoiser)
        group.load(
            LoadDenoiser(
                model=found.name, denoiser=model.family.denoiser, folder=str(found.folder.resolve()),
                dtype=str(found.dtype).removeprefix("torch."), memory_plan=model.info.device.memory_plan,
                transformer_file=None, parts=len(found.cards),
            )
        )  # fmt: skip
        if not group.complete(found.name) or group.size != len(found.cards):
            raise ModelUnavailable(f"{found.name} cannot be spread over {' and '.join(found.cards)}: {group.loss}")
        self._forward = ShardedForward(group, found.name, self._denoiser)
        self.reason = (
            f"{' and '.join(found.cards)} each hold a part of the transformer, and compute every forward together."
        )
        logger.info("%s", self.reason)

    def open(self, forward: Forward, adapters: LoraAdapters, probe: Callable[[int], Mapping[str, Any]]) -> None:
        """Let LoRAs reach every rank; there is nothing to measure, since no card computes a call alone."""
        self._forward.copies = LoraCopies(self._name, self._denoiser, adapters)
