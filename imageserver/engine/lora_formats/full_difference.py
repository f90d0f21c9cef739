"""`diff`: a layer's whole change. It is a LoRA of full rank: one matrix is the change, the other does nothing.

Source: ComfyUI `comfy/lora.py`, LyCORIS `modules/full.py`.
"""

from dataclasses import replace

import torch

from imageserver.engine.lora_formats.layer_matrices import LoraMatrices, of_full_rank
from imageserver.engine.lora_formats.model_layers import Layer
from imageserver.engine.lora_formats.refused import LoraRefused


def as_low_rank(name: str, change: torch.Tensor, bias: torch.Tensor | None, layer: Layer) -> LoraMatrices:
    """Return the matrices of a LoRA with the same effect; raises LoraRefused for a change of another shape."""
    if tuple(change.shape) != (layer.outputs, layer.inputs, *layer.kernel):
        raise LoraRefused(
            f"does not fit the model: the change of its layer {name} has the shape {tuple(change.shape)}, the layer "
            f"{(layer.outputs, layer.inputs, *layer.kernel)}"
        )
    return replace(of_full_rank(change.flatten(1), layer.kernel), bias=bias)
