"""A loaded model as those see it who take turns at it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from imageserver.engine.caching import QualityTiers
from imageserver.engine.devices.forward_costs import ForwardCosts
from imageserver.engine.pipelines.merging import Merger
from imageserver.engine.pipelines.token_counts import TokenUsage
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.engine.runner.pipeline_runner import OnStep
from imageserver.generation import Generation


class ImageRunner(Protocol):
    """The part of a Painter that a job needs; tests have their own."""

    def run(self, generation: Generation, index: int, on_step: OnStep, source: bytes = b"") -> torch.Tensor:
        """Return image `index`, calling the gated denoiser on the way."""

    def postprocess(self, image: torch.Tensor, generation: Generation, source: bytes = b"") -> bytes:
        """Return the bytes of a generated image."""

    def calls_per_step(self, generation: Generation) -> int:
        """Return the denoiser calls of one step."""

    def token_usage(self, generation: Generation) -> TokenUsage:
        """Return what the model reads of this generation, and what the client should know."""


@dataclass(eq=False)
class ServedModel:
    """A loaded model with its runner and its ModelInfo.

    `cap_of` tells how many images of a size in pixels share a forward, `fitting` the same as far as the memory has
    shown it; `largest_generated` is the largest image so far. Without a merger, tiers or adapters it has no shared
    forwards, no quality but exact, and no LoRAs.
    """

    runner: ImageRunner
    forward: Callable[..., Any]
    merger: Merger | None = None
    cap_of: Callable[[int], int] = lambda pixels: 1
    tiers: QualityTiers | None = None
    adapters: LoraAdapters | None = None
    costs: ForwardCosts = field(default_factory=ForwardCosts)
    fitting_batches: dict[int, int] = field(default_factory=dict)
    largest_generated: int = 0
