"""What the fake rank holds: models that are all the denoiser of one addition."""

import time
from typing import Any

import torch

from imageserver.engine.card_group.messages import LoadDenoiser
from imageserver.engine.card_group.sharding.sharded_linears import ColumnLinear
from tests.support.fake_denoiser import FakeDenoiser

# A text that holds the rank up for so long that a test can kill it meanwhile.
SLOW = 17.0
# Texts whose forward fails on another card than rank 0's: once, and with the loss of its device.
BROKEN = 19.0
LOST = 23.0
# The name of a model that no rank can load.
TOO_LARGE = "too-large"


class SlowDenoiser(FakeDenoiser):
    """Sleeps over a slow text, and fails with others."""

    def forward(self, hidden_states: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor]:
        if bool((text == SLOW).any()):
            time.sleep(60)
        if bool((text == BROKEN).any()):
            raise RuntimeError("this card cannot")
        if bool((text == LOST).any()):
            raise torch.AcceleratorError("an illegal memory access")
        return super().forward(hidden_states, timestep, text)


class SpreadDenoiser(torch.nn.Module):
    """Doubles the result by a layer that two ranks share, one output each; only the other rank than 0 is slow."""

    def __init__(self, part: int) -> None:
        super().__init__()
        self.adds = FakeDenoiser() if part == 0 else SlowDenoiser()
        self.doubles = ColumnLinear(torch.nn.Linear(1, 2, bias=False), part, 2)
        self.doubles.weight = torch.nn.Parameter(torch.full((1, 1), 2.0), requires_grad=False)

    def forward(self, hidden_states: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.doubles(self.adds(hidden_states, timestep, text)[0]),)


class FakeDenoisers:
    """Loads anything at once, except what is too large."""

    def __init__(self, *_: Any) -> None:
        self._denoisers: dict[str, torch.nn.Module] = {}

    def __getitem__(self, model: str) -> torch.nn.Module:
        return self._denoisers[model]

    def load(self, wanted: LoadDenoiser) -> None:
        if wanted.model == TOO_LARGE:
            raise RuntimeError("out of memory")
        self._denoisers[wanted.model] = SlowDenoiser() if wanted.parts == 1 else SpreadDenoiser(wanted.part)

    def unload(self, model: str) -> None:
        """Keep it."""
