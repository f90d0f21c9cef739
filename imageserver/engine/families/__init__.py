"""One file per model family: what its pipeline needs to be told, and which sizes it can draw."""

from typing import Protocol

from imageserver.engine.families.qwen_image import QwenImage
from imageserver.engine.pipelines import Pipeline, PipelineArguments
from imageserver.generation import Generation


class Family(Protocol):
    """What the engine must know of a family."""

    name: str
    pipeline_class: str

    def size_multiple(self, pipeline: Pipeline) -> int:
        """Return the number of pixels that width and height must be multiples of."""

    def arguments(self, generation: Generation) -> PipelineArguments:
        """Return the keyword arguments of the pipeline's call that the generation decides."""

    def warnings(self, pipeline: Pipeline, generation: Generation) -> list[str]:
        """Return what the client should know: text that was cut, parameters without effect."""


FAMILIES: tuple[Family, ...] = (QwenImage(),)


def family_of(pipeline_class: str) -> Family | None:
    """Return the family that serves a pipeline class of diffusers, by its name in `model_index.json`."""
    return next((family for family in FAMILIES if family.pipeline_class == pipeline_class), None)
