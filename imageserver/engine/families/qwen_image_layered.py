"""Qwen-Image-Layered: Qwen-Image separates an image into layers with transparency.

Source: the Qwen/Qwen-Image-Layered model card and diffusers `pipeline_qwenimage_layered.py` (0.42).
"""

from collections.abc import Mapping
from dataclasses import replace

import torch

from imageserver.engine.families.flow import clean_flow_latents
from imageserver.engine.families.qwen_image import MAX_PROMPT_TOKENS
from imageserver.engine.families.qwen_image_edit import QwenImageEdit
from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache
from imageserver.engine.pipelines.texts.token_counts import TokenUsage
from imageserver.engine.pipelines.types import Defaults, Kind, Pipeline, PipelineArguments
from imageserver.generation import LAYER_SIDE, Generation, layer_size


class QwenImageLayered(QwenImageEdit):
    """Image and description to layers, which the model generates beside a copy of the whole.

    The tokens of the image, its copy and its layers are one call: 4800 with one layer and 9600 with four, where two
    images of 4096 tokens (1024 x 1024) gained only 5 % by sharing a forward on an H100. So it shares none.
    """

    name = "qwen-image-layered"
    pipeline_classes: Mapping[Kind, str] = {"edit": "QwenImageLayeredPipeline"}
    layers = 4
    merger = None
    text_arguments = ()

    def defaults(self, pipeline: Pipeline) -> Defaults:
        return Defaults(steps=50, guidance=4.0)

    def arguments(self, pipeline: Pipeline, generation: Generation, cache: EmbeddingCache) -> PipelineArguments:
        """Return the call's arguments; a blank prompt lets the text encoder describe the image in English."""
        return super().arguments(pipeline, generation, cache) | {
            "layers": self._layers_of(generation),
            "resolution": LAYER_SIDE,
            "use_en_prompt": True,
            "max_sequence_length": MAX_PROMPT_TOKENS,
        }

    def preview_latents(
        self, pipeline: Pipeline, tensors: Mapping[str, torch.Tensor], width: int, height: int
    ) -> torch.Tensor:
        """Return the latents (channels, height, width) of the whole, which is generated before its layers."""
        clean = clean_flow_latents(pipeline.scheduler, tensors)
        side = self.size_multiple(pipeline)
        whole = clean[:, : (width // side) * (height // side)]
        unpacked: torch.Tensor = pipeline._unpack_latents(whole, height, width, 0, pipeline.vae_scale_factor)
        return unpacked[0, :, 0]

    def encode_for_preview(self, pipeline: Pipeline, image: torch.Tensor) -> torch.Tensor:
        return super().encode_for_preview(pipeline, torch.cat([image, torch.ones_like(image[:, :1])], 1))

    def token_usage(self, pipeline: Pipeline, generation: Generation) -> TokenUsage:
        """Count the tokens of the whole and of its layers."""
        width, height = layer_size(generation.width, generation.height)
        usage = super().token_usage(pipeline, replace(generation, width=width, height=height))
        return replace(usage, image_tokens=(1 + self._layers_of(generation)) * usage.image_tokens)

    def _layers_of(self, generation: Generation) -> int:
        return generation.layers or self.layers
