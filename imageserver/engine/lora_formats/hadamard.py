"""LoHa: a layer's change is the product, number by number, of two matrices of low rank.

Such a product of ranks r and s is exactly a LoRA of rank r · s: its columns are the products of all pairs of columns.
Where that is more than the rank of the layer, the product itself is taken, which has the layer's size; so it is where
the kernel is in matrices of its own (a Tucker decomposition).
Source: LyCORIS `modules/loha.py`; Hyeon-Woo et al., FedPara (2021).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from imageserver.engine.lora_formats.layer_matrices import LoraMatrices, of_full_rank
from imageserver.engine.lora_formats.model_layers import Place
from imageserver.engine.lora_formats.refused import LoraRefused
from imageserver.engine.lora_formats.tucker_product import tucker_product

WANTED = ("w1_a", "w1_b", "w2_a", "w2_b")
CORES = ("t1", "t2")


def as_low_rank(name: str, parts: Mapping[str, torch.Tensor], alpha: float | None, place: Place) -> LoraMatrices:
    """Return the matrices of a LoRA with the same effect on `place`; raises LoraRefused."""
    found = {each: parts.get(f"hada.{each}") for each in WANTED}
    matrices = [matrix for each in WANTED if (matrix := found[each]) is not None]
    if len(matrices) < len(WANTED):
        missing = " and ".join(f"hada_{each}" for each in WANTED if found[each] is None)
        raise LoraRefused(f"cannot be used: its layer {name} has no {missing}")
    if any(f"hada.{each}" in parts for each in CORES):
        return _with_cores(name, matrices, [parts.get(f"hada.{each}") for each in CORES], alpha, place)
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


def computed_numbers(parts: Mapping[str, torch.Tensor], place: Place) -> int:
    """Return how many numbers the matrices of the LoRA have; 0 for a layer that has no LoHa, or half of one."""
    right, other_right = parts.get("hada.w1_b"), parts.get("hada.w2_b")
    if right is None or other_right is None:
        return 0
    least, rank = min(place.outputs, place.inputs), right.shape[:1].numel() * other_right.shape[:1].numel()
    if rank > least or any(f"hada.{each}" in parts for each in CORES):
        return place.outputs * place.inputs + least * least
    return rank * (place.outputs + place.inputs)


def _with_cores(
    name: str,
    matrices: Sequence[torch.Tensor],
    cores: Sequence[torch.Tensor | None],
    alpha: float | None,
    place: Place,
) -> LoraMatrices:
    """Return the product of two convolutions, each of a kernel between two ranks, one of outputs and one of inputs."""
    layer, changes = place.layers[0], []
    for core, left, right in zip(cores, matrices[::2], matrices[1::2], strict=True):
        fits = core is not None and left.ndim == right.ndim == 2 and core.shape[:2] == (len(left), len(right))
        if core is None or not fits or 0 in core.shape:
            raise LoraRefused(f"cannot be used: the matrices of its layer {name} do not fit each other")
        if (left.shape[1], right.shape[1], *core.shape[2:]) != (layer.outputs, layer.inputs, *layer.kernel):
            raise LoraRefused(
                f"does not fit the model: its layer {name} has {right.shape[1]} inputs, {left.shape[1]} outputs and a "
                f"kernel of {tuple(core.shape[2:])}, the model's has {layer.inputs}, {layer.outputs} and {layer.kernel}"
            )
        changes.append(tucker_product(core, left, right))
    strength = 1.0 if alpha is None else alpha / len(matrices[1])
    whole = of_full_rank((changes[0] * changes[1]).flatten(1).to(matrices[0].dtype), layer.kernel)
    return replace(whole, alpha=strength * whole.rank)
