"""The adapter of one part of a pipeline as peft takes it: tensors by its names, and their configuration."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from re import escape
from typing import Any

import torch

from imageserver.engine.lora_formats.layer_matrices import LoraMatrices
from imageserver.engine.lora_formats.model_layers import Layer
from imageserver.engine.lora_formats.refused import LoraRefused
from imageserver.engine.lora_formats.weight_storage import WeightStorage


@dataclass(frozen=True)
class PartAdapter:
    """The tensors for one part, and the arguments of a `LoraConfig` or, where they are factors, of a `LoKrConfig`.

    `layers` is how many layers they change. Raises LoraRefused where a number that was computed from finite ones of the
    file is not finite; what the model computes with them later is not foreseen.
    """

    tensors: Mapping[str, torch.Tensor]
    config: Mapping[str, Any]
    layers: int

    def __post_init__(self) -> None:
        for name, tensor in self.tensors.items():
            if not torch.isfinite(tensor).all():
                kind = str(tensor.dtype).removeprefix("torch.")
                raise LoraRefused(f"cannot be used: what it computes for {name} is too large for {kind} numbers")

    @property
    def bytes(self) -> int:
        """The memory that its tensors take."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


def low_rank_adapter(layers: Mapping[Layer, LoraMatrices]) -> PartAdapter:
    """Return the adapter of one part's layers; raises LoraRefused for a combination that peft cannot compute."""
    _refuse_mixed_magnitudes(layers)
    has_bias = any(each.bias is not None for each in layers.values())
    tensors: dict[str, torch.Tensor] = {}
    for layer, each in layers.items():
        tensors[f"{layer.name}.lora_A.weight"] = each.down
        tensors[f"{layer.name}.lora_B.weight"] = each.up
        if has_bias:
            tensors[f"{layer.name}.lora_B.bias"] = each.up.new_zeros(layer.outputs) if each.bias is None else each.bias
        if each.magnitude is not None:
            tensors[f"{layer.name}.lora_magnitude_vector"] = each.magnitude
    return PartAdapter(tensors, _configuration(layers, has_bias), len(layers))


def kronecker_adapter(layers: Mapping[Layer, Mapping[str, torch.Tensor]]) -> PartAdapter:
    """Return the adapter of one part's layers from their factors, in which the strength is contained."""
    tensors = {f"{layer.name}.{name}": tensor for layer, factors in layers.items() for name, tensor in factors.items()}
    config = {"r": 1, "alpha": 1, "target_modules": [layer.name for layer in layers]}
    return PartAdapter(tensors, config, len(layers))


def _configuration(layers: Mapping[Layer, LoraMatrices], has_bias: bool) -> dict[str, Any]:
    ranks = {layer.name: each.rank for layer, each in layers.items()}
    alphas = {layer.name: each.alpha for layer, each in layers.items()}
    [(rank, _)] = Counter(ranks.values()).most_common(1)
    [(alpha, _)] = Counter(alphas.values()).most_common(1)
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": _exceptions(ranks, rank),
        "alpha_pattern": _exceptions(alphas, alpha),
        "target_modules": list(ranks),
        "use_dora": any(each.magnitude is not None for each in layers.values()),
        "lora_bias": has_bias,
    }


def _exceptions(values: Mapping[str, float], common: float) -> dict[str, float]:
    """Return the layers with another value, as peft's patterns; without ^ one would match the end of longer names."""
    return {f"^{escape(name)}": value for name, value in values.items() if value != common}


def _refuse_mixed_magnitudes(layers: Mapping[Layer, LoraMatrices]) -> None:
    plain = [layer.name for layer, each in layers.items() if each.magnitude is None]
    if len(plain) == len(layers):
        return
    if plain:
        raise LoraRefused(
            f"cannot be used: some of its layers are DoRA, and the layer {plain[0]} has no magnitude; "
            "convert the file to LoRA"
        )
    if kernel := next((layer for layer in layers if layer.kernel), None):
        raise LoraRefused(
            f"cannot be used: it is a DoRA, and its layer {kernel.name} is a convolution; convert the file to LoRA"
        )
    if other := next((layer for layer in layers if layer.storage is not WeightStorage.PLAIN), None):
        raise LoraRefused(f"cannot be used: it is a DoRA, and the weights of the layer {other.name} {other.storage}")
