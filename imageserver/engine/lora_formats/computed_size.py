"""How much memory what is computed from a file takes: a small file can need more than the model."""

from collections.abc import Mapping

import torch

from imageserver.engine.lora_formats import hadamard, kronecker, layer_matrices
from imageserver.engine.lora_formats.model_layers import Place
from imageserver.engine.lora_formats.refused import LoraRefused
from imageserver.engine.lora_formats.tensor_file import number_bytes

# In 16 bits, all joined layers of Z-Image take 3.0 GB, those of FLUX.2 3.6 GB, those of FLUX.1 7.2 GB.
MAX_COMPUTED_BYTES = 4 * 1024**3


def computed_bytes(layers: Mapping[str, Mapping[str, torch.Tensor]], places: Mapping[str, Place]) -> int:
    """Return what is computed for all layers together; raises LoraRefused, before anything is, for too much."""
    total = sum(_bytes(parts, places[name]) for name, parts in layers.items())
    if total > MAX_COMPUTED_BYTES:
        raise LoraRefused(
            f"cannot be used: what has to be computed from it takes {total / 1e9:.1f} GB of memory, and "
            f"{MAX_COMPUTED_BYTES / 1e9:.1f} GB is the most; convert the file to LoRA"
        )
    return total


def _bytes(parts: Mapping[str, torch.Tensor], place: Place) -> int:
    numbers = sum(
        computed(parts, place)
        for computed in (hadamard.computed_numbers, kronecker.computed_numbers, layer_matrices.computed_numbers)
    )
    # An alpha is often in 32 bits beside matrices in 16.
    return numbers * max((number_bytes(tensor) for name, tensor in parts.items() if name != "alpha"), default=0)
