"""Stable Diffusion XL: a UNet with two CLIP text encoders that is conditioned on the size of the image.

Source: diffusers `pipeline_stable_diffusion_xl.py` (0.42) and its defaults.
"""

from collections.abc import Mapping
from typing import Any

import torch

from imageserver.engine.families.unet import UNetFamily
from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache, Encoded
from imageserver.engine.pipelines.texts.token_counts import TokenUsage, count_tokens
from imageserver.engine.pipelines.types import Defaults, Kind, Pipeline, PipelineArguments
from imageserver.generation import Generation


class StableDiffusionXL(UNetFamily):
    """Text, image or masked image to image."""

    name = "stable-diffusion-xl"
    pipeline_classes: Mapping[Kind, str] = {
        "text": "StableDiffusionXLPipeline",
        "image": "StableDiffusionXLImg2ImgPipeline",
        "inpaint": "StableDiffusionXLInpaintPipeline",
        "control": "StableDiffusionXLControlNetPipeline",
        "control-image": "StableDiffusionXLControlNetImg2ImgPipeline",
        "control-inpaint": "StableDiffusionXLControlNetInpaintPipeline",
    }
    loading: Mapping[str, Any] = {"add_watermarker": False}

    def defaults(self, pipeline: Pipeline) -> Defaults:
        """Return those of diffusers' pipeline, with 30 steps."""
        return Defaults(steps=30, guidance=5.0)

    def arguments(self, pipeline: Pipeline, generation: Generation, cache: EmbeddingCache) -> PipelineArguments:
        """Return the call's arguments; a blank negative prompt is the zero embedding where the model wants that."""
        embeddings, pooled = self.encoded(pipeline, generation, generation.prompt, cache)
        arguments: PipelineArguments = {
            "prompt_embeds": embeddings,
            "pooled_prompt_embeds": pooled,
            "guidance_scale": generation.true_cfg_scale,
            "num_inference_steps": generation.steps,
        }
        if generation.true_cfg_scale > 1:
            blank = not generation.negative_prompt.strip()
            if blank and pipeline.config.force_zeros_for_empty_prompt:
                negative: Encoded = (torch.zeros_like(embeddings), torch.zeros_like(pooled))
            else:
                text = generation.negative_prompt.strip()
                negative = self.encoded(pipeline, generation, text, cache, pinned=True)
            arguments |= {"negative_prompt_embeds": negative[0], "negative_pooled_prompt_embeds": negative[1]}
        return arguments

    def encode(self, pipeline: Pipeline, text: str) -> Encoded:
        embeddings, _, pooled, _ = pipeline.encode_prompt(text, do_classifier_free_guidance=False)
        return embeddings, pooled

    def token_usage(self, pipeline: Pipeline, generation: Generation) -> TokenUsage:
        """Count CLIP's tokens; it reads up to 77."""
        return count_tokens(pipeline.tokenizer, pipeline.tokenizer.model_max_length, generation, latent_side=8)
