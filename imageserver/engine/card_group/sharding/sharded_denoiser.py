"""Replace the large linear layers of a denoiser by one rank's part of them, before any weight is read.

It knows no model family: outputs are divided and gathered layer by layer. Only in a feed-forward whose shape it knows
does the first layer keep its part to itself, because the second one needs no more: one sum instead of a gathering four
times as wide. `gathering` says when it does so.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from diffusers.models.activations import GELU
from diffusers.models.attention import FeedForward
from torch import nn

from imageserver.engine.card_group.sharding.sharded_linears import ColumnLinear, FirstLinear, RowLinear, ShardedLinear

# A smaller share of the denoiser is not worth a message between the cards; every rank holds such a layer as a whole.
MIN_SHARE = 1e-4


@dataclass(frozen=True)
class FeedForwardLayers:
    """The names of a known feed-forward's layers: those that widen its input, and the one that narrows it again."""

    first: tuple[str, ...]
    second: str


def shard(denoiser: nn.Module, part: int, parts: int) -> None:
    """Replace the layers of a denoiser on the device `meta` by their part number `part`."""
    least = MIN_SHARE * sum(parameter.numel() for parameter in denoiser.parameters())
    for module in list(denoiser.modules()):
        found = _feed_forward(module)
        layers = [module.get_submodule(name) for name in (*found.first, found.second)] if found else []
        if found and all(_is_large(layer, parts, least) for layer in layers):
            for name in found.first:
                module.set_submodule(name, FirstLinear(module.get_submodule(name), part, parts))  # type: ignore[arg-type]
            module.set_submodule(found.second, RowLinear(module.get_submodule(found.second), part, parts))  # type: ignore[arg-type]
    for name, layer in list(denoiser.named_modules()):
        if _is_large(layer, parts, least):
            denoiser.set_submodule(name, ColumnLinear(layer, part, parts))


def sharded_layers(module: nn.Module) -> Iterator[ShardedLinear]:
    return (layer for layer in module.modules() if isinstance(layer, ShardedLinear))


def _feed_forward(module: nn.Module) -> FeedForwardLayers | None:
    """Return the layers of a feed-forward of diffusers, or of the kind that Llama introduced."""
    if isinstance(module, FeedForward) and isinstance(module.net[0], GELU) and type(module.net[2]) is nn.Linear:
        return FeedForwardLayers(("net.0.proj",), "net.2")
    if all(type(getattr(module, name, None)) is nn.Linear for name in ("w1", "w2", "w3")):
        return FeedForwardLayers(("w1", "w3"), "w2")
    return None


def _is_large(layer: nn.Module, parts: int, least: float) -> bool:
    return type(layer) is nn.Linear and layer.weight.numel() >= least and min(layer.weight.shape) >= parts
