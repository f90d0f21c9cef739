"""LoHa: a layer's change is the product, number by number, of two matrices of low rank.

Such a product of ranks r and s is exactly a LoRA of rank r · s: its columns are the products of all pairs of columns.
Where that is more than the rank of the layer, the product itself is taken, which has the layer's size.
Source: LyCORIS `modules/loha.py`; Hyeon-Woo et al., FedPara (2021).
"""

from collections.abc import Mapping
from dataclasses import replace

import torch

from imageserver.engine.lora_formats.layer_matrices import LoraMatrices, of_full_rank
from imageserver.engine.lora_formats.model_layers import Place
from imageserver.engine.lora_formats.refused import LoraRefused

WANTED = ("w1_a", "w1_b", "w2_a", "w2_b")


def as_low_rank(name: str, parts: Mapping[str, torch.Tensor], alpha: float | None, place: Place) -> LoraMatrices:
    """Return the matrices of a LoRA with the same effect on `place`; raises LoraRefused."""
    found = {each: parts.get(f"hada.{each}") for each in (*WANTED, "t1", "t2")}
    if found["t1"] is not None or found["t2"] is not None:
        raise LoraRefused(f"cannot be used: the layer {name} is a LoHa with a Tucker decomposition; convert it to LoRA")
    matrices = [matrix for each in WANTED if (matrix := found[each]) is not None]
    if len(matrices) < len(WANTED):
        missing = " and ".join(f"hada_{each}" for each in WANTED if found[each] is None)
        raise LoraRefused(f"cannot be used: its layer {name} has no {missing}")
    left, right, other_left, other_right = (matrix.float() for matrix in matrices)
    ranks = left.shape[-1], other_left.shape[-1]
    fits = (
        all(each.ndim == 2 for each in matrices) and 0 not in ranks and (right.shape[0], other_right.shape[0]) == ranks
    )
    if not fits or left.shape[0] != other_left.shape[0] or right.shape[1] != other_right.shape[1]:
        raise LoraRefused(f"cannot be used: the matrices of its layer {name} do not fit each other")
    if (left.shape[0], right.shape[1]) != (place.outputs, place.inputs):
        raise LoraRefused(
            f"does not fit the model: its layer {name} has {right.shape[1]} inputs and {left.shape[0]} outputs, the "
            f"model's has {place.inputs} and {place.outputs}"
        )
    strength = 1.0 if alpha is None else alpha / ranks[0]
    kind, kernel = matrices[0].dtype, place.layers[0].kernel
    if ranks[0] * ranks[1] > min(left.shape[0], right.shape[1]):
        whole = of_full_rank(((left @ right) * (other_left @ other_right)).to(kind), kernel)
        return replace(whole, alpha=strength * whole.rank)
    up = torch.einsum("or,os->ors", left, other_left).flatten(1)
    down = torch.einsum("ri,si->rsi", right, other_right).flatten(0, 1)
    if kernel:
        down = down.reshape(len(down), -1, *kernel)
        up = up[:, :, None, None]
    return LoraMatrices(down.to(kind), up.to(kind), strength * len(down))
