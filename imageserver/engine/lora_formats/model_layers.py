"""The layers of a model that LoRAs can change, under every name that trainers have for them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch

from imageserver.engine.lora_formats import original_names
from imageserver.engine.lora_formats.naming import DENOISER_PREFIXES, TEXT_PREFIXES, unwrapped
from imageserver.engine.lora_formats.weight_storage import WeightStorage, storage_of

# transformers 5 dropped this level of CLIP's names, files keep it.
CLIP_LEVEL = "text_model."


@dataclass(frozen=True)
class Layer:
    """A linear layer (`kernel` is empty) or a convolution of one part of the pipeline."""

    part: str
    name: str
    inputs: int
    outputs: int
    kernel: tuple[int, ...] = ()
    storage: WeightStorage = WeightStorage.PLAIN


@dataclass(frozen=True)
class Place:
    """Where the matrices of one name in a file belong: one layer, or those that the original model has in one.

    In the original, the halves of some layers' outputs stand in the other order.
    """

    layers: tuple[Layer, ...]
    swapped: bool = False

    @property
    def outputs(self) -> int:
        return sum(layer.outputs for layer in self.layers)

    @property
    def inputs(self) -> int:
        """How many numbers each output is computed from, with those of a convolution's kernel."""
        return self.layers[0].inputs * math.prod(self.layers[0].kernel)


class ModelLayers:
    """The layers of a pipeline's denoiser and of the text encoders whose LoRAs diffusers loads."""

    def __init__(self, parts: Mapping[str, torch.nn.Module], denoiser: str) -> None:
        """Collect them from modules that no LoRA has changed yet."""
        self._denoiser = denoiser
        self._places = {name: _places_of(name, part) for name, part in parts.items()}

    def find(self, name: str) -> Place | None:
        """Return the place of a layer by its name in a file; None for one that the model does not have."""
        name = unwrapped(name)
        for part, prefixes in self._prefixes():
            for prefix in prefixes:
                rest = name.removeprefix(prefix)
                if name.startswith(prefix) and (place := self._places[part].get(rest)):
                    return place
        return None

    def _prefixes(self) -> Iterable[tuple[str, tuple[str, ...]]]:
        yield self._denoiser, DENOISER_PREFIXES
        for part, prefixes in TEXT_PREFIXES.items():
            if part in self._places:
                yield part, prefixes


@dataclass
class _Names:
    """Places by the names with dots and those with underscores instead."""

    places: dict[str, Place] = field(default_factory=dict)

    def add(self, name: str, place: Place) -> None:
        self.places.setdefault(name, place)
        self.places.setdefault(name.replace(".", "_"), place)


def _places_of(part: str, module: torch.nn.Module) -> dict[str, Place]:
    layers = {name: layer for name, each in module.named_modules() if (layer := _layer(part, name, each))}
    names = _Names()
    for name, layer in layers.items():
        names.add(name, Place((layer,)))
    for name, layer in layers.items():
        place = Place((layer,))
        if name.endswith(".to_out.0"):
            names.add(name.removesuffix(".0"), place)
        if part.startswith("text_encoder"):
            names.add(name.removeprefix(CLIP_LEVEL), place)
            names.add(CLIP_LEVEL + name, place)
    for original, fused in original_names.of(type(module).__name__, layers).items():
        names.add(original, Place(tuple(layers[name] for name in fused.layers), fused.swapped))
    return names.places


def _layer(part: str, name: str, module: torch.nn.Module) -> Layer | None:
    if isinstance(module, torch.nn.Linear):
        return Layer(part, name, module.in_features, module.out_features, storage=storage_of(module))
    if isinstance(module, torch.nn.Conv2d):
        return Layer(part, name, module.in_channels // module.groups, module.out_channels, tuple(module.kernel_size))
    return None
