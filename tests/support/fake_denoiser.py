"""A denoiser of one addition, a pipeline that calls it, and a merger for both: a step scheduler without a model."""

import copy
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch

from imageserver.engine.pipelines.decoding.previews import Thumbnail
from imageserver.engine.pipelines.texts.encoded_texts import recorded_texts
from imageserver.engine.pipelines.texts.token_counts import TokenUsage
from imageserver.engine.runner.pipeline_runner import OnStep
from imageserver.generation import Generation

POISON = 13.0
NEGATIVE = 7.0
SEEN = Thumbnail(1, 1, bytes(3), 8)


class FakeDenoiser(torch.nn.Module):
    """Adds the text of every image to its state; fails when it meets a poisoned one."""

    def forward(self, hidden_states: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor]:
        if bool((text == POISON).any()):
            raise RuntimeError("poisoned")
        return (hidden_states + text,)


class FakeMerger:
    """Merges everything of one size."""

    def shape_of(self, call: Mapping[str, Any]) -> Hashable:
        return tuple(call["hidden_states"].shape[1:])

    def batch_size(self, call: Mapping[str, Any]) -> int:
        return int(call["hidden_states"].shape[0])

    def text_length(self, call: Mapping[str, Any]) -> int:
        return 0

    def token_count(self, call: Mapping[str, Any]) -> int:
        return 1

    def merge(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {key: torch.cat([call[key] for call in calls]) for key in ("hidden_states", "timestep", "text")}


class FakeRunner:
    """Calls the denoiser once a step with the seed as its text, and with guidance a second time."""

    def __init__(self, denoiser: FakeDenoiser) -> None:
        self.denoiser = denoiser

    def encode_prompt(self, number: float) -> tuple[torch.Tensor]:
        return (torch.full((1, 1), number),)

    def run(self, generation: Generation, index: int, on_step: OnStep, source: bytes = b"") -> torch.Tensor:
        own = copy.copy(self)
        with recorded_texts(own, ("text",)):
            texts = [own.encode_prompt(number)[0] for number in (float(generation.seed), NEGATIVE)]
        state = torch.zeros(1, generation.width)
        for step in range(generation.steps):
            results = [
                self.denoiser.forward(hidden_states=state, timestep=torch.full((1,), float(step)), text=text)[0]
                for text in texts[: self.calls_per_step(generation)]
            ]
            state = sum(results) - (len(results) - 1) * state
            on_step(lambda: SEEN)
        return state

    def postprocess(self, image: torch.Tensor, generation: Generation, source: bytes = b"") -> bytes:
        return bytes(image.to(torch.uint8).flatten().tolist())

    def calls_per_step(self, generation: Generation) -> int:
        return 2 if generation.true_cfg_scale > 1 else 1

    def token_usage(self, generation: Generation) -> TokenUsage:
        return TokenUsage(prompt_tokens=0, image_tokens=0)
