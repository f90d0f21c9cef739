"""The types of what diffusers leaves untyped."""

from typing import Any

# A DiffusionPipeline; diffusers types none of its attributes, so this is where the checker's knowledge ends.
Pipeline = Any
PipelineArguments = dict[str, Any]
