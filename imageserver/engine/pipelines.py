"""The types of what diffusers leaves untyped."""

from dataclasses import dataclass
from typing import Any, Literal

# A DiffusionPipeline; diffusers types none of its attributes, so this is where the checker's knowledge ends.
Pipeline = Any
PipelineArguments = dict[str, Any]
# What a generation starts from: text alone, a picture, or a picture with a mask.
Kind = Literal["text", "image", "inpaint"]


@dataclass(frozen=True)
class Defaults:
    """What a model is drawn with where a request does not say."""

    steps: int
    guidance: float
