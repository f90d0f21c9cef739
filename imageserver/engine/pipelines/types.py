"""The types of what diffusers leaves untyped."""

from dataclasses import dataclass
from typing import Any, Literal

# A DiffusionPipeline; diffusers types none of its attributes, so this is where the checker's knowledge ends.
Pipeline = Any
PipelineArguments = dict[str, Any]
# What a generation starts from: text alone, an image to generate over, one with a mask, or one that is seen and edited;
# the first three may be guided by a ControlNet.
Kind = Literal["text", "image", "inpaint", "edit", "control", "control-image", "control-inpaint"]


@dataclass(frozen=True)
class Defaults:
    """What a model is generated with where a request does not say."""

    steps: int
    guidance: float
