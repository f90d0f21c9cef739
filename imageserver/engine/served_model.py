"""A loaded model as those see it who take turns at it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from imageserver.engine.adapters import Adapters
from imageserver.engine.costs import ForwardCosts
from imageserver.engine.merging import Merger
from imageserver.engine.painter import OnStep
from imageserver.engine.quality import QualityTiers
from imageserver.engine.readings import Reading
from imageserver.generation import Generation


class Draws(Protocol):
    """The part of a Painter that a job needs; tests have their own."""

    def draw(self, generation: Generation, index: int, on_step: OnStep, source: bytes = b"") -> torch.Tensor:
        """Return picture `index`, calling the gated denoiser on the way."""

    def develop(self, picture: torch.Tensor, generation: Generation, source: bytes = b"") -> bytes:
        """Return the bytes of a drawn picture."""

    def calls_per_step(self, generation: Generation) -> int:
        """Return the denoiser calls of one step."""

    def reading(self, generation: Generation) -> Reading:
        """Return what the model reads of this generation, and what the client should know."""


@dataclass(eq=False)
class ServedModel:
    """What draws with one model, and what is known of it.

    `cap_of` tells how many pictures of a size in pixels share a forward, `fitting` the same as far as the memory has
    shown it; `largest_drawn` is the largest picture so far. Without a merger, tiers or adapters it has no shared
    forwards, no quality but exact, and no LoRAs.
    """

    painter: Draws
    forward: Callable[..., Any]
    merger: Merger | None = None
    cap_of: Callable[[int], int] = lambda pixels: 1
    tiers: QualityTiers | None = None
    adapters: Adapters | None = None
    costs: ForwardCosts = field(default_factory=ForwardCosts)
    fitting: dict[int, int] = field(default_factory=dict)
    largest_drawn: int = 0
