"""Let peft keep a LoKr's factors in the sizes that its file gives them.

peft computes with any sizes, but creates all factors by one rule. Trainers with a rule for each kind of layer do not
follow it, nor do the parts of a layer that a model's authors have in one. Source: peft `tuners/lokr/layer.py` (0.21).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lokr import LoKrLayer
from peft.tuners.tuners_utils import BaseTunerLayer

Sizes = Mapping[str, torch.Size]


@contextmanager
def sizes_of_the_file(part: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """While it is open, peft creates the factors of `tensors` in their own sizes, on the layers of `part`."""
    sizes = _by_layer(part, tensors)

    def create(layer: Any, adapter_name: str, *_: Any, **__: Any) -> None:
        for factor, size in sizes[layer.get_base_layer()].items():
            getattr(layer, factor)[adapter_name] = torch.nn.Parameter(torch.empty(size))

    # For the time of one call, and in the engine's only thread that loads LoRAs: peft has no setting for it.
    layers: Any = LoKrLayer
    original = layers.create_adapter_parameters
    layers.create_adapter_parameters = create
    try:
        yield
    finally:
        layers.create_adapter_parameters = original


def _by_layer(part: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> Mapping[torch.nn.Module, Sizes]:
    found: dict[torch.nn.Module, dict[str, torch.Size]] = defaultdict(dict)
    for name, tensor in tensors.items():
        layer, _, factor = name.rpartition(".")
        if factor.startswith("lokr_"):
            module = part.get_submodule(layer)
            base = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
            found[base][factor] = tensor.shape
    return found
