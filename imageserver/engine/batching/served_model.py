"""A loaded model as the step scheduler sees it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from imageserver.capabilities import check_describes
from imageserver.engine.batching.memory_limit import MemoryLimit
from imageserver.engine.caching import QualityTiers
from imageserver.engine.capturing.captured_forwards import CapturedForwards
from imageserver.engine.card_group.group_forward import GroupForward
from imageserver.engine.devices.forward_costs import ForwardCosts
from imageserver.engine.language.image_captioner import ImageCaptioner
from imageserver.engine.language.prompt_writer import PromptWriter
from imageserver.engine.pipelines.merger import Merger
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from imageserver.errors import InvalidParameter
from imageserver.generation import Generation


@dataclass(eq=False)
class ServedModel:
    """Everything that generates with one model, and the costs learnt so far.

    `cap_of` gives how many images of a size in pixels share a forward, `mixes_lengths` whether texts of different
    lengths do; `memory_limit` what was learnt when memory ran out. `largest_generated` is the largest image so far, in
    pixels. Without a merger calls share no forward, without tiers the only quality is exact, and without adapters LoRAs
    are refused. `captured` replays launches instead of repeating them, `cards` computes on several cards. Without a
    `prompt_writer` prompts are used as they are, without an `image_captioner` images are not described. `costs` are
    those of forwards, `ending_costs` those after an image's last one.
    """

    runner: PipelineRunner
    forward: Callable[..., Any]
    merger: Merger | None = None
    cap_of: Callable[[int], int] = lambda pixels: 1
    mixes_lengths: Callable[[int], bool] = lambda pixels: True
    tiers: QualityTiers | None = None
    adapters: LoraAdapters | None = None
    captured: CapturedForwards | None = None
    cards: GroupForward | None = None
    prompt_writer: PromptWriter | None = None
    image_captioner: ImageCaptioner | None = None
    costs: ForwardCosts = field(default_factory=ForwardCosts)
    ending_costs: ForwardCosts = field(default_factory=ForwardCosts)
    memory_limit: MemoryLimit = field(default_factory=MemoryLimit)
    largest_generated: int = 0

    def forward_for(self, generation: Generation) -> Callable[..., Any]:
        """Return the forward of an exact image; a deterministic one is computed as in the plain pipeline."""
        return self.forward if self.captured is None or generation.deterministic else self.captured

    def check_supported(self, generation: Generation) -> None:
        """Raise InvalidParameter or NotFound for what is known to be out of its reach before anything runs."""
        if generation.quality != "exact" and self.tiers is None:
            raise InvalidParameter("quality: this model generates only exact images.", param="quality")
        if generation.caption:
            check_describes(self.image_captioner is not None)

    def most_calls(self, pixels: int, tokens: int) -> int:
        """Return how many calls of images of a size, each of so many tokens, may share a forward."""
        return self.memory_limit.calls(tokens, self.cap_of(pixels))

    @property
    def spreads(self) -> bool:
        """Whether the calls of a forward are computed on different cards, without padding for each other."""
        return self.cards is not None and self.cards.size > 1
