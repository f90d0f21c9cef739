"""The types of what diffusers leaves untyped."""

from typing import Any, Literal

# A DiffusionPipeline; diffusers types none of its attributes, so this is where the checker's knowledge ends.
Pipeline = Any
PipelineArguments = dict[str, Any]
# What a generation starts from: text alone, a picture, or a picture with a mask.
Kind = Literal["text", "image", "inpaint"]
