"""Types for what diffusers leaves untyped."""

from dataclasses import dataclass
from typing import Any, Literal

# A DiffusionPipeline; diffusers types none of its attributes, so the type checker knows nothing of it.
Pipeline = Any
PipelineArguments = dict[str, Any]
# What a generation starts from: text alone, an image, an image with a mask, or an image to edit by instruction; a
# ControlNet may guide the first three.
Kind = Literal["text", "image", "inpaint", "edit", "control", "control-image", "control-inpaint"]


@dataclass(frozen=True)
class Defaults:
    """A model's defaults for what a request leaves out."""

    steps: int
    guidance: float
