"""Read a LoRA file for one model: find the layer of every tensor, and what the tensors add to it."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from imageserver.engine.lora_formats import full_difference, hadamard, kronecker, tensor_file
from imageserver.engine.lora_formats.computed_size import computed_bytes
from imageserver.engine.lora_formats.layer_matrices import LoraMatrices, fitted, low_rank, only_bias
from imageserver.engine.lora_formats.model_layers import Layer, ModelLayers, Place
from imageserver.engine.lora_formats.naming import TEXT_PREFIXES, unwrapped
from imageserver.engine.lora_formats.part_adapter import PartAdapter, kronecker_adapter, low_rank_adapter
from imageserver.engine.lora_formats.refused import LoraRefused
from imageserver.engine.lora_formats.tensor_file import TensorFile
from imageserver.engine.weight_names import owner_of

# peft's own bias has the strength of the matrices; the other is added as it is.
BIASES = {"bias", "bias_difference"}
# Holds an amount of bytes while it is open.
Reserve = Callable[[int], AbstractContextManager[object]]
TEXT_BEGINNINGS = tuple(prefix for prefixes in TEXT_PREFIXES.values() for prefix in prefixes)


def read_adapter(path: Path, model: ModelLayers, reserve: Reserve = nullcontext) -> Mapping[str, PartAdapter]:
    """Read a file for a model, and return the adapter of each part; raises LoraRefused or OSError.

    Its numbers are read while `reserve` holds the bytes that they take, together with what is computed from them.
    """
    file = tensor_file.read(path)
    places = _places(file, model)
    with reserve(file.bytes + computed_bytes(file.layers, places)):
        # The wait for the memory may have taken minutes.
        tensor_file.check_unchanged(path, file)
        return _adapters(file.checked(), places)


def _adapters(file: TensorFile, places: Mapping[str, Place]) -> Mapping[str, PartAdapter]:
    is_lokr = {name: any(part.startswith("lokr.") for part in parts) for name, parts in file.layers.items()}
    if all(is_lokr.values()):
        return _kronecker_adapter(file, places)
    if any(is_lokr.values()):
        name = min(name for name, lokr in is_lokr.items() if lokr)
        raise LoraRefused(
            f"cannot be used: its layer {name} is in the format LoKr, and others are not; convert the file to LoRA"
        )
    matrices: dict[Layer, LoraMatrices] = {}
    for name in sorted(file.layers):
        for layer, each in _spread(name, _matrices(name, file, places[name]), places[name]).items():
            own = fitted(name, each, layer)
            # Some files have the joined layers of the model's authors and those of diffusers, to fit both.
            if layer in matrices and not matrices[layer].is_same_change(own):
                raise LoraRefused(f"cannot be used: it changes the layer {layer.name} twice, in two ways; take one out")
            matrices[layer] = own
    by_part: dict[str, dict[Layer, LoraMatrices]] = defaultdict(dict)
    for layer, each in matrices.items():
        by_part[layer.part][layer] = each
    return {part: low_rank_adapter(own) for part, own in by_part.items()}


def _places(file: TensorFile, model: ModelLayers) -> Mapping[str, Place]:
    """Return where every layer of the file belongs."""
    found = {name: model.find(name) for name in file.layers}
    unknown = sorted(name for name, place in found.items() if place is None)
    if unknown:
        owner = owner_of(file.layers)
        made_for = f" (its names are those of {owner})" if owner and len(unknown) == len(found) else ""
        if all(unwrapped(name).startswith(TEXT_BEGINNINGS) for name in unknown):
            made_for = (
                ", which is one of a text encoder whose LoRAs are not loaded here: take such layers out of the file"
            )
        count = f"; {len(unknown)} of its {len(found)} layers are unknown" if len(unknown) > 1 else ""
        raise LoraRefused(f"does not fit the model: the model has no layer {unknown[0]}{made_for}{count}")
    return {name: place for name, place in found.items() if place is not None}


def _matrices(name: str, file: TensorFile, place: Place) -> LoraMatrices:
    parts = file.layers[name]
    alpha = _alpha(name, parts)
    layer = place.layers[0]
    kinds = {part.split(".")[0] for part in parts} - {"alpha"}
    if kinds == {"hada"}:
        return hadamard.as_low_rank(name, parts, alpha, place)
    if kinds <= {"difference", "bias_difference"} and len(place.layers) == 1:
        if "difference" in kinds:
            return full_difference.as_low_rank(name, parts["difference"], parts.get("bias_difference"), layer)
        if "bias_difference" in kinds:
            return only_bias(layer, parts["bias_difference"])
    if kinds <= {"down", "up", "mid", "bias", "bias_difference", "magnitude"} and not kinds >= BIASES:
        if alpha is None and "down" in parts:
            alpha = file.alpha(layer.part, layer.name, parts["down"].shape[0])
        return low_rank(name, parts, alpha, place)
    raise LoraRefused(
        f"cannot be used: its layer {name} mixes formats: {', '.join(sorted(parts))}; convert the file to LoRA"
    )


def _alpha(name: str, parts: Mapping[str, torch.Tensor]) -> float | None:
    alpha = parts.get("alpha")
    if alpha is None:
        return None
    if alpha.numel() != 1:
        raise LoraRefused(f"cannot be used: the alpha of its layer {name} has {alpha.numel()} values")
    if not math.isfinite(alpha):
        raise LoraRefused(f"cannot be used: the alpha of its layer {name} is {float(alpha)}")
    return float(alpha)


def _spread(name: str, matrices: LoraMatrices, place: Place) -> Mapping[Layer, LoraMatrices]:
    """Return the matrices for each of a place's layers, whose outputs are one after the other in the file."""
    if place.swapped:
        return {place.layers[0]: matrices.swapped()}
    if len(place.layers) == 1:
        return {place.layers[0]: matrices}
    if matrices.up.shape[0] != place.outputs:
        raise LoraRefused(
            f"does not fit the model: its layer {name} has {matrices.up.shape[0]} outputs, the model's has "
            f"{place.outputs}"
        )
    found, start = {}, 0
    for layer in place.layers:
        found[layer] = matrices.outputs(start, layer.outputs)
        start += layer.outputs
    return found


def _kronecker_adapter(file: TensorFile, places: Mapping[str, Place]) -> Mapping[str, PartAdapter]:
    found: dict[Layer, Mapping[str, torch.Tensor]] = {}
    for name, parts in sorted(file.layers.items()):
        if places[name].layers[0].part.startswith("text_encoder"):
            raise LoraRefused(
                f"cannot be used: its layer {name} of a text encoder is in the format LoKr; convert the file to LoRA"
            )
        # Where both factors are whole, alpha says nothing; in 16 bits it may be infinite.
        alpha = _alpha(name, parts) if {"lokr.w1_b", "lokr.w2_b"} & parts.keys() else None
        for layer, factors in kronecker.factors_of(name, parts, alpha, places[name]).items():
            if layer in found:
                raise LoraRefused(
                    f"cannot be used: it changes the layer {layer.name} twice, which a LoKr must not; convert the "
                    "file to LoRA"
                )
            found[layer] = factors
    return {next(iter(found)).part: kronecker_adapter(found)}
