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
    """A model's defaults for what a request leaves out."""

    steps: int
    guidance: float
