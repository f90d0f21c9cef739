"""LoKr: a layer's change is the Kronecker product of a small matrix and another, which may be of low rank.

peft computes with it as it is; as a LoRA it could need as much memory as the model.
Source: LyCORIS `modules/lokr.py`, peft `tuners/lokr/layer.py`.
"""

from collections.abc import Mapping

import torch

from imageserver.engine.lora_formats.model_layers import Layer
from imageserver.engine.lora_formats.refused import LoraRefused


def checked(
    name: str, parts: Mapping[str, torch.Tensor], alpha: float | None, layer: Layer
) -> Mapping[str, torch.Tensor]:
    """Return peft's tensors of a layer by their names, with alpha multiplied in; raises LoraRefused."""
    if layer.kernel or "lokr.t2" in parts:
        raise LoraRefused(
            f"cannot be used: its layer {name} is a convolution in the format LoKr, which this server does not compute "
            "with; convert the file to LoRA"
        )
    if others := sorted(part for part in parts if part != "alpha" and not part.startswith("lokr.")):
        raise LoraRefused(
            f"cannot be used: its layer {name} is in the format LoKr and has a {others[0]} beside it, which this "
            "server does not compute with"
        )
    factors = {part.removeprefix("lokr."): tensor for part, tensor in parts.items() if part.startswith("lokr.")}
    first, second = (_shape(name, factors, each) for each in ("w1", "w2"))
    if (first[0] * second[0], first[1] * second[1]) != (layer.outputs, layer.inputs):
        raise LoraRefused(
            f"does not fit the model: its layer {name} has {first[1] * second[1]} inputs and {first[0] * second[0]} "
            f"outputs, the model's has {layer.inputs} and {layer.outputs}"
        )
    rank = next((factors[each].shape[0] for each in ("w1_b", "w2_b") if each in factors), None)
    if alpha is not None and rank is not None:
        scaled = "w1" if "w1" in factors else "w1_a"
        factors[scaled] = factors[scaled] * (alpha / rank)
    return {f"lokr_{each}": tensor.contiguous() for each, tensor in factors.items()}


def _shape(name: str, factors: Mapping[str, torch.Tensor], which: str) -> tuple[int, int]:
    """Return the shape of a factor that is there whole or as a product of two."""
    whole, left, right = (factors.get(each) for each in (which, f"{which}_a", f"{which}_b"))
    if whole is not None and left is None and right is None and whole.ndim == 2:
        return int(whole.shape[0]), int(whole.shape[1])
    if whole is None and left is not None and right is not None and left.shape[1:] == right.shape[:-1]:
        return int(left.shape[0]), int(right.shape[1])
    raise LoraRefused(f"cannot be used: its layer {name} lacks a part of the factor {which}, or has too many")
