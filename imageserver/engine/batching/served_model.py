"""A loaded model as the step scheduler sees it."""

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
    """The part of `PipelineRunner` that a job needs; tests have their own."""

    def run(self, generation: Generation, index: int, on_step: OnStep, source: bytes = b"") -> torch.Tensor:
        """Return image `index`, calling the gated denoiser on the way."""

    def postprocess(self, image: torch.Tensor, generation: Generation, source: bytes = b"") -> bytes:
        """Return the bytes of a generated image."""

    def calls_per_step(self, generation: Generation) -> int:
        """Return the denoiser calls of one step."""

    def token_usage(self, generation: Generation) -> TokenUsage:
        """Return the tokens of this generation, and warnings for the client."""


@dataclass(eq=False)
class ServedModel:
    """Everything that generates with one model, and the costs learnt so far.

    `cap_of` gives how many images of a size in pixels share a forward; `fitting_batches` gives lower limits by size,
    learnt when memory ran out. `largest_generated` is the largest image so far, in pixels. Without a merger calls share
    no forward, without tiers the only quality is exact, and without adapters LoRAs are refused.
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
