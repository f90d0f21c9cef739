"""Muon with AdamW for the rest: momentum orthogonalised by Newton-Schulz for the matrices of the transformer's blocks.

Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024). Matrices of equal shape are
stacked, and the stacks are shared out between the training processes.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Push the singular values of a (count, rows, columns) stack towards one."""
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16()
    flip = x.shape[1] > x.shape[2]
    x = x.mT.contiguous() if flip else x
    x = x / (x.float().flatten(1).norm(dim=1)[:, None, None] + 1e-7).bfloat16()
    for _ in range(steps):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if flip else x).float()


class Muon:
    """Muon for `matrices`, AdamW for `others`; both follow `set_rate(share)` of their peak learning rates."""

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        rate: float,
        adam_rate: float,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.groups: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for parameter in matrices:
            self.groups.setdefault(tuple(parameter.shape), []).append(parameter)
        self.momentum = {
            shape: torch.zeros(len(group), *shape, device=group[0].device) for shape, group in self.groups.items()
        }
        rest = list(others)
        decayed = [p for p in rest if p.ndim > 1]
        plain = [p for p in rest if p.ndim <= 1]
        self.adam = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
            lr=adam_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.rate, self.adam_rate, self.rank, self.world = rate, adam_rate, rank, world
        self.share = 1.0

    def set_rate(self, share: float) -> None:
        """Scale both learning rates."""
        self.share = share
        for group in self.adam.param_groups:
            group["lr"] = self.adam_rate * share

    @torch.no_grad()
    def step(self) -> None:
        """Apply one update from the gradients."""
        self.adam.step()
        for shape, group in self.groups.items():
            gradients = torch.stack([p.grad if p.grad is not None else torch.zeros_like(p) for p in group])
            momentum = self.momentum[shape]
            momentum.lerp_(gradients, 0.05)
            nesterov = gradients.lerp(momentum, 0.95)
            update = torch.zeros_like(nesterov)
            mine = slice(self.rank, None, self.world)
            if len(group) > self.rank:
                update[mine] = orthogonalise(nesterov[mine])
            if self.world > 1:
                dist.all_reduce(update)
            rate = self.rate * self.share
            scale = max(1.0, shape[0] / shape[1]) ** 0.5
            for parameter, change in zip(group, update, strict=True):
                parameter.mul_(1 - rate * 0.02).add_(change, alpha=-rate * scale)

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on later."""
        return {"momentum": self.momentum, "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.momentum = {shape: value.to(self.momentum[shape].device) for shape, value in state["momentum"].items()}
        self.adam.load_state_dict(state["adam"])
