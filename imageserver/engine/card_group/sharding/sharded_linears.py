"""Linear layers that are divided among the ranks: each holds a part of the outputs, or of the inputs.

Source: Shoeybi et al., "Megatron-LM" (2019), section 3. They stay `nn.Linear` with the sizes of the whole layer, so
that peft puts a LoRA beside them on every rank: it sees whole inputs and whole outputs.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn


class ShardedLinear(nn.Linear):
    """One rank's part of a linear layer; its weights, on the device `meta`, are still to be read.

    `elements_elsewhere` counts the numbers of the layer that other ranks hold.
    """

    # The dimension of the weight that is divided.
    dimension: int

    def __init__(self, whole: nn.Linear, part: int, parts: int) -> None:
        tensors = dict(whole.named_parameters())
        super().__init__(whole.in_features, whole.out_features, bias="bias" in tensors, device="meta")
        size = self.weight.shape[self.dimension]
        self.ends = [size * number // parts for number in range(parts + 1)]
        self.part = part
        self.has_bias = "bias" in tensors
        self.elements_elsewhere = sum(tensor.numel() for tensor in tensors.values())
        for name, tensor in tensors.items():
            own = torch.empty_like(tensor, device="meta")[self.index_of(name)]
            self.register_parameter(name, nn.Parameter(own, requires_grad=False))
            self.elements_elsewhere -= own.numel()

    @property
    def own(self) -> slice:
        return slice(self.ends[self.part], self.ends[self.part + 1])

    def index_of(self, name: str) -> Any:
        """Return which part of its parameter `weight` or `bias` this rank holds."""
        raise NotImplementedError


class ColumnLinear(ShardedLinear):
    """A part of the outputs: each is the dot product that a single card computes.

    Unless `gathers` is off, every rank has all outputs in the end.
    """

    dimension = 0

    def __init__(self, whole: nn.Linear, part: int, parts: int) -> None:
        super().__init__(whole, part, parts)
        self.gathers = True

    def index_of(self, name: str) -> Any:
        return self.own

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        own = nn.functional.linear(input, self.weight, self.bias)
        return self._gathered(own) if self.gathers else own

    def _gathered(self, own: torch.Tensor) -> torch.Tensor:
        widths = [end - begin for begin, end in zip(self.ends, self.ends[1:], strict=False)]
        # Collectives want tensors of one size.
        padded = nn.functional.pad(own, (0, max(widths) - own.shape[-1])).contiguous()
        parts = [torch.empty_like(padded) for _ in widths]
        dist.all_gather(parts, padded)
        return torch.cat([each[..., :width] for each, width in zip(parts, widths, strict=True)], dim=-1)


class FirstLinear(ColumnLinear):
    """A first layer of a feed-forward: the second one needs this rank's outputs alone, unless `gathers` is set."""


class RowLinear(ShardedLinear):
    """A part of the inputs, which are those of the rank or still whole; the ranks' results are added."""

    dimension = 1

    def index_of(self, name: str) -> Any:
        return (slice(None), self.own) if name == "weight" else slice(None)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        own = input[..., self.own] if input.shape[-1] == self.in_features else input
        result = nn.functional.linear(own, self.weight)
        dist.all_reduce(result)
        return result + self.bias if self.has_bias else result
