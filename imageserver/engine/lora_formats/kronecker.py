"""LoKr: a layer's change is the Kronecker product of a small matrix and another, which may be of low rank.

peft computes with it as it is; as a LoRA it could need as much memory as the model.
Source: LyCORIS `modules/lokr.py`, peft `tuners/lokr/layer.py`.
"""

import math
from collections.abc import Mapping, Sequence

import torch

from imageserver.engine.lora_formats.model_layers import Layer, Place
from imageserver.engine.lora_formats.refused import LoraRefused
from imageserver.engine.lora_formats.tucker_product import is_too_wide, narrowed

Factors = Mapping[str, torch.Tensor]


def factors_of(name: str, parts: Factors, alpha: float | None, place: Place) -> Mapping[Layer, Factors]:
    """Return peft's tensors of every layer by their names, with alpha multiplied in; raises LoraRefused."""
    if others := sorted(part for part in parts if part != "alpha" and not part.startswith("lokr.")):
        raise LoraRefused(
            f"cannot be used: its layer {name} is in the format LoKr and has a {others[0]} beside it, which this "
            "server does not compute with; convert the file to LoRA"
        )
    factors = {part.removeprefix("lokr."): tensor for part, tensor in parts.items() if part.startswith("lokr.")}
    first, second = _shape(name, factors, "w1"), _second_shape(name, factors, place.layers[0].kernel)
    if (first[0] * second[0], first[1] * second[1]) != (place.outputs, place.inputs):
        raise LoraRefused(
            f"does not fit the model: its layer {name} has {first[1] * second[1]} inputs and {first[0] * second[0]} "
            f"outputs, the model's has {place.inputs} and {place.outputs}"
        )
    for layer in place.layers:
        if not layer.storage.has_whole_shape:
            raise LoraRefused(
                f"cannot be used: it is a LoKr, and the weights of the layer {layer.name} {layer.storage}"
            )
    rank = next((factors[each].shape[0] for each in ("w1_b", "w2_b") if each in factors), None)
    if alpha is not None and rank is not None:
        scaled = "w1" if "w1" in factors else "w1_a"
        factors[scaled] = factors[scaled] * (alpha / rank)
    return {
        layer: {f"lokr_{each}": tensor.contiguous() for each, tensor in own.items()}
        for layer, own in _spread(_narrow(factors), second[0], place).items()
    }


def computed_numbers(parts: Factors, place: Place) -> int:
    """Return how many numbers the layers' changes are where they are no products; 0 for factors that do not fit."""
    left = parts.get("lokr.w1", parts.get("lokr.w1_a"))
    if left is None or left.ndim == 0 or len(left) == 0 or place.outputs % len(left):
        return 0
    height = place.outputs // len(left)
    return sum(layer.outputs * place.inputs for layer, rows in _outputs(place).items() if not _are_whole(rows, height))


def _spread(factors: Factors, height: int, place: Place) -> Mapping[Layer, Factors]:
    """Return the factors for each of a place's layers; `height` is how many outputs a row of the first one makes."""
    if len(place.layers) == 1 and not place.swapped:
        return {place.layers[0]: factors}
    return {layer: _rows(factors, height, rows) for layer, rows in _outputs(place).items()}


def _outputs(place: Place) -> Mapping[Layer, Sequence[slice]]:
    """Return which of a place's outputs each of its layers has."""
    if place.swapped:
        [layer] = place.layers
        half = layer.outputs // 2
        return {layer: (slice(half, None), slice(half))}
    found, start = {}, 0
    for layer in place.layers:
        found[layer] = (slice(start, start + layer.outputs),)
        start += layer.outputs
    return found


def _are_whole(rows: Sequence[slice], height: int) -> bool:
    """Return whether each of these ranges of outputs begins and ends between two rows of the first factor."""
    return all((edge or 0) % height == 0 for each in rows for edge in (each.start, each.stop))


def _rows(factors: Factors, height: int, rows: Sequence[slice]) -> Factors:
    """Return the factors of some outputs: whole rows of the first, otherwise 1 and the change itself."""
    if _are_whole(rows, height):
        left = "w1" if "w1" in factors else "w1_a"
        blocks = [slice(_divided(each.start, height), _divided(each.stop, height)) for each in rows]
        return {**factors, left: torch.cat([factors[left][each] for each in blocks])}
    first, second = _matrix(factors, "w1"), _matrix(factors, "w2")
    change = torch.kron(first.float(), second.float()).to(second.dtype)
    return {"w1": change.new_ones(1, 1), "w2": torch.cat([change[each] for each in rows])}


def _narrow(factors: Factors) -> Factors:
    """Return the factors with a kernel's second rank at most the inputs of its factor.

    In every forward, peft computes a kernel of that rank for every output: a small file could fill the memory.
    """
    core, right = factors.get("t2"), factors.get("w2_b")
    if core is None or right is None or not is_too_wide(core, right):
        return factors
    return {**factors, "t2": narrowed(core, right).to(core.dtype), "w2_b": torch.eye(right.shape[1], dtype=right.dtype)}


def _divided(edge: int | None, height: int) -> int | None:
    return None if edge is None else edge // height


def _matrix(factors: Factors, which: str) -> torch.Tensor:
    return factors[which] if which in factors else factors[f"{which}_a"] @ factors[f"{which}_b"]


def _second_shape(name: str, factors: Factors, kernel: tuple[int, ...]) -> tuple[int, int]:
    """Return the shape of the second factor, with the numbers of a kernel among its inputs."""
    whole, left, right, core = (factors.get(each) for each in ("w2", "w2_a", "w2_b", "t2"))
    if core is not None:
        pair = _pair(whole, left, right)
        if pair and kernel and core.shape == (len(pair[0]), len(pair[1]), *kernel):
            return pair[0].shape[1], pair[1].shape[1] * math.prod(kernel)
        raise LoraRefused(f"cannot be used: the factor t2 of its layer {name} does not fit the others or the layer")
    if kernel and whole is not None and whole.shape[2:] == kernel:
        factors = {**factors, "w2": whole.flatten(1)}
    return _shape(name, factors, "w2")


def _shape(name: str, factors: Factors, which: str) -> tuple[int, int]:
    """Return the shape of a factor that is there whole or as a product of two."""
    whole, left, right = (factors.get(each) for each in (which, f"{which}_a", f"{which}_b"))
    if whole is not None and left is None and right is None and whole.ndim == 2:
        return int(whole.shape[0]), int(whole.shape[1])
    pair = _pair(whole, left, right)
    if pair and pair[0].shape[1] == pair[1].shape[0] > 0:
        return int(pair[0].shape[0]), int(pair[1].shape[1])
    raise LoraRefused(f"cannot be used: its layer {name} lacks a part of the factor {which}, or has too many")


def _pair(
    whole: torch.Tensor | None, left: torch.Tensor | None, right: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return the two matrices of a factor that is their product."""
    if whole is not None or left is None or right is None or not left.ndim == right.ndim == 2:
        return None
    return left, right
