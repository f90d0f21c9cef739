"""Whether the first layers of feed-forwards gather what the ranks compute: rank 0 decides for all, for every forward.

A rank that decided for itself would gather while another adds: LoRAs that are loaded and not used stand beside the
layers of rank 0 alone.
"""

from torch import nn

from imageserver.engine.card_group.sharding.sharded_linears import FirstLinear, RowLinear


def must_gather(denoiser: nn.Module) -> bool:
    """Return whether a LoRA stands beside a layer of a feed-forward: it needs whole inputs and outputs."""
    return any(
        isinstance(getattr(module, "base_layer", None), FirstLinear | RowLinear) for module in denoiser.modules()
    )


def set_gathering(denoiser: nn.Module, gathers: bool) -> None:
    for module in denoiser.modules():
        if isinstance(module, FirstLinear):
            module.gathers = gathers
