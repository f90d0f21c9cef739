"""The denoisers that a rank holds, loaded from the same files in the same way as by rank 0, and their LoRAs."""

import gc
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from imageserver.engine.card_group.lora_copies import METADATA
from imageserver.engine.card_group.messages import AddLora, LoadDenoiser, RemoveLora, UseLoras
from imageserver.engine.devices import devices
from imageserver.engine.devices.memory_plans import BY_NAME
from imageserver.engine.models.acceleration import accelerate
from imageserver.engine.models.components import load_components
from imageserver.engine.models.load_errors import explaining_load_errors
from imageserver.engine.models.weight_files import sharded_weights, transformer_file
from imageserver.engine.models.weight_files.weights import components_of
from imageserver.engine.pipelines.method_caches import clear_method_caches
from imageserver.engine.runner.kronecker_sizes import sizes_of_the_file
from imageserver.settings import Settings


class Denoisers:
    """The denoisers on one device by the names of their models."""

    def __init__(self, device: torch.device, settings: Settings) -> None:
        self._device = device
        self._settings = settings
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, model: str) -> Any:
        return self._loaded[model]

    def load(self, wanted: LoadDenoiser) -> None:
        """Load a denoiser; raises ModelUnavailable."""
        folder, plan = Path(wanted.folder), BY_NAME[wanted.memory_plan]
        dtype = getattr(torch, wanted.dtype)
        settings = self._settings.model_copy(
            update={"transformer_file": Path(wanted.transformer_file) if wanted.transformer_file else None}
        )
        with explaining_load_errors(wanted.model, folder):
            found = self._own_part(wanted, folder, dtype) if wanted.parts > 1 else {}
            found = found or transformer_file.load(settings, folder, wanted.denoiser, dtype, self._device)
            if not found:
                others = components_of(folder, left_out=(wanted.denoiser,))
                found = load_components(folder, plan, dtype, self._device, left_out=others)
            denoiser: Any = found[wanted.denoiser].to(self._device).eval()
        accelerate(denoiser, settings, lambda phase, sentence, fraction: None)
        self._loaded[wanted.model] = denoiser

    def _own_part(self, wanted: LoadDenoiser, folder: Path, dtype: torch.dtype) -> dict[str, Any]:
        name = wanted.denoiser
        return {name: sharded_weights.load(folder, name, dtype, self._device, wanted.part, wanted.parts)}

    def unload(self, model: str) -> None:
        """Free the memory of a model; an unknown name is ignored."""
        if model in self._loaded:
            clear_method_caches(self._loaded[model])
            del self._loaded[model]
            gc.collect()
            devices.release_cached(self._device)

    def add_lora(self, added: AddLora, content: bytes) -> None:
        """Add a LoRA as rank 0 holds it, which stays unused."""
        weights = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        denoiser, metadata = self[added.model], json.loads(header["__metadata__"][METADATA])
        with sizes_of_the_file(denoiser, weights):
            denoiser.load_lora_adapter(weights, prefix=None, adapter_name=added.adapter, metadata=metadata)

    def remove_lora(self, removed: RemoveLora) -> None:
        """Remove a LoRA; after the last one the denoiser is as it was before the first."""
        denoiser = self[removed.model]
        if len(denoiser.peft_config) == 1:
            denoiser.unload_lora()
        else:
            denoiser.delete_adapters(removed.adapter)

    def use_loras(self, used: UseLoras) -> None:
        denoiser = self[used.model]
        if used.adapters:
            denoiser.enable_lora()
            denoiser.set_adapters(list(used.adapters), list(used.scales))
        elif getattr(denoiser, "peft_config", None):
            denoiser.disable_lora()
