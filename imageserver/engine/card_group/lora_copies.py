"""Give the other ranks the LoRAs that rank 0 has, as it holds them: their files may need converting, or be gone."""

import json
from collections.abc import Sequence
from typing import Any, Protocol

import safetensors.torch

from imageserver.engine.card_group.messages import AddLora, RemoveLora, UseLoras
from imageserver.engine.card_group.rank_process import RankProcess

METADATA = "adapter"
# The adapters in use, each with its scale.
Active = tuple[tuple[str, float], ...]


class Adapters(Protocol):
    """The LoRAs of rank 0's denoiser, by peft's names for them."""

    @property
    def attached(self) -> tuple[str, ...]: ...

    @property
    def in_use(self) -> Active: ...


class LoraCopies:
    """What the other ranks have of one model's LoRAs."""

    def __init__(self, model: str, denoiser: Any, adapters: Adapters) -> None:
        self._model = model
        self._denoiser = denoiser
        self._adapters = adapters
        self._copied: set[str] = set()
        self._used: Active = ()

    def forget(self) -> None:
        """Begin with ranks that have none."""
        self._copied.clear()
        self._used = ()

    def send(self, ranks: Sequence[RankProcess]) -> None:
        """Make the ranks compute with what rank 0 computes with; raises CardLost."""
        attached, used = self._adapters.attached, self._adapters.in_use
        for adapter in sorted(self._copied.difference(attached)):
            self._copied.remove(adapter)
            self._used = ((adapter, 0.0),)
            for rank in ranks:
                rank.send(RemoveLora(model=self._model, adapter=adapter))
        for adapter, _ in used:
            if adapter not in self._copied:
                weights = self._weights(adapter)
                # Only now: the ranks lack what could not be read here.
                self._copied.add(adapter)
                for rank in ranks:
                    rank.send(AddLora(model=self._model, adapter=adapter, size=len(weights)), weights)
        if used != self._used:
            self._used = used
            names, scales = tuple(name for name, _ in used), tuple(scale for _, scale in used)
            for rank in ranks:
                rank.send(UseLoras(model=self._model, adapters=names, scales=scales))

    def _weights(self, adapter: str) -> bytes:
        """Return an adapter as a safetensors file, as diffusers' `save_lora_adapter` (0.42) writes it."""
        from peft.utils import get_peft_model_state_dict

        description = self._denoiser.peft_config[adapter].to_dict()
        plain = {name: sorted(each) if isinstance(each, set) else each for name, each in description.items()}
        weights = get_peft_model_state_dict(self._denoiser, adapter_name=adapter)
        contiguous = {name: tensor.cpu().contiguous() for name, tensor in weights.items()}
        return safetensors.torch.save(contiguous, {METADATA: json.dumps(plain)})
