"""How a layer holds its weight: peft's DoRA needs its numbers, its LoKr its shape, and not all have them."""

from enum import StrEnum

import torch


class WeightStorage(StrEnum):
    """The value is what a refusal says of a layer's weights, and what to do instead."""

    PLAIN = "are plain numbers"
    QUANTIZED = "are quantized; serve the model unquantized (MEMORY=full), or convert the file to LoRA"
    PACKED = "are packed as in a GGUF file; serve a TRANSFORMER_FILE that is not GGUF, or convert the file to LoRA"
    DIVIDED = (
        "are divided among the cards (MEMORY=tensor-parallel); serve the model with another MEMORY, or convert the "
        "file to LoRA"
    )

    @property
    def has_whole_shape(self) -> bool:
        """Whether the weight has the shape of the layer: one that is quantized by torchao still has it."""
        return self in (WeightStorage.PLAIN, WeightStorage.QUANTIZED)


def storage_of(layer: torch.nn.Linear) -> WeightStorage:
    """Return how a linear layer holds its weight, by its shape and its class."""
    is_parameter = type(layer.weight) is torch.nn.Parameter
    if tuple(layer.weight.shape) == (layer.out_features, layer.in_features):
        is_plain = is_parameter and type(layer) is torch.nn.Linear
        return WeightStorage.PLAIN if is_plain else WeightStorage.QUANTIZED
    return WeightStorage.DIVIDED if is_parameter else WeightStorage.PACKED
