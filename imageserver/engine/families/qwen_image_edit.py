"""Qwen-Image-Edit and its successors 2509 and 2511: Qwen-Image reads an image and an instruction how to change it.

Source: the Qwen/Qwen-Image-Edit, -2509 and -2511 model cards and diffusers `pipeline_qwenimage_edit.py` (0.42).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imageserver.engine.families.qwen_image import MAX_PROMPT_TOKENS, QwenImage
from imageserver.engine.pipelines.image_processor import ImageProcessor, cut, load_image_processor
from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache
from imageserver.engine.pipelines.types import Defaults, Kind, Pipeline, PipelineArguments
from imageserver.generation import Generation


class QwenImageEdit(QwenImage):
    """Image and instruction to image; the image is read at about a megapixel, whatever size is generated."""

    name = "qwen-image-edit"
    control_net = ""
    pipeline_classes: Mapping[Kind, str] = {"edit": "QwenImageEditPipeline"}
    positive_magic: Mapping[str, str] = {}

    def load_components(self, folder: Path) -> dict[str, Any]:
        return {"processor": load_image_processor(folder / "processor", ImageProcessor)}

    def defaults(self, pipeline: Pipeline) -> Defaults:
        return Defaults(steps=50, guidance=4.0)

    def arguments(self, pipeline: Pipeline, generation: Generation, cache: EmbeddingCache) -> PipelineArguments:
        """Return the call's arguments; the texts are read with the image, so they are not cached."""
        arguments: PipelineArguments = {
            "prompt": cut(pipeline.tokenizer, generation.prompt, MAX_PROMPT_TOKENS),
            "true_cfg_scale": generation.true_cfg_scale,
            "num_inference_steps": generation.steps,
        }
        if self.calls_per_step(pipeline, generation) == 2:
            arguments["negative_prompt"] = cut(pipeline.tokenizer, generation.negative_prompt or " ", MAX_PROMPT_TOKENS)
        return arguments


class QwenImageEditPlus(QwenImageEdit):
    """2509 and 2511, which read one to three images, each at about a megapixel."""

    name = "qwen-image-edit-plus"
    pipeline_classes: Mapping[Kind, str] = {"edit": "QwenImageEditPlusPipeline"}
    max_images = 3

    def defaults(self, pipeline: Pipeline) -> Defaults:
        return Defaults(steps=40, guidance=4.0)
