"""Stable Diffusion 1.x and 2.x: a UNet with one CLIP text encoder.

Source: diffusers `pipeline_stable_diffusion.py` (0.42); its defaults here are DPM-Solver++ 2M
with Karras sigmas, 28 steps and guidance 7.0.
"""

from collections.abc import Mapping
from typing import Any

import diffusers

from imageserver.engine.families.unet import UNetFamily
from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache, Encoded
from imageserver.engine.pipelines.texts.token_counts import TokenUsage, count_tokens
from imageserver.engine.pipelines.types import Defaults, Kind, Pipeline, PipelineArguments
from imageserver.generation import Generation


class StableDiffusion(UNetFamily):
    """Text, image or masked image to image."""

    name = "stable-diffusion"
    pipeline_classes: Mapping[Kind, str] = {
        "text": "StableDiffusionPipeline",
        "image": "StableDiffusionImg2ImgPipeline",
        "inpaint": "StableDiffusionInpaintPipeline",
        "control": "StableDiffusionControlNetPipeline",
        "control-image": "StableDiffusionControlNetImg2ImgPipeline",
        "control-inpaint": "StableDiffusionControlNetInpaintPipeline",
    }
    # The checker has many false alarms; SAFETY_CHECKER switches it on for every family.
    loading: Mapping[str, Any] = {"safety_checker": None, "requires_safety_checker": False}

    def customize(self, pipeline: Pipeline) -> None:
        """Give the pipeline the noise scheduler that the family is served with."""
        pipeline.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(
            pipeline.scheduler.config, algorithm_type="dpmsolver++", use_karras_sigmas=True
        )

    def defaults(self, pipeline: Pipeline) -> Defaults:
        return Defaults(steps=28, guidance=7.0)

    def arguments(self, pipeline: Pipeline, generation: Generation, cache: EmbeddingCache) -> PipelineArguments:
        """Return the call's arguments; without guidance the negative prompt is not read."""
        arguments: PipelineArguments = {
            "prompt_embeds": self.encoded(pipeline, generation, generation.prompt, cache)[0],
            "guidance_scale": generation.true_cfg_scale,
            "num_inference_steps": generation.steps,
        }
        if generation.true_cfg_scale > 1:
            negative = generation.negative_prompt.strip()
            [arguments["negative_prompt_embeds"]] = self.encoded(pipeline, generation, negative, cache, pinned=True)
        return arguments

    def encode(self, pipeline: Pipeline, text: str) -> Encoded:
        return (pipeline.encode_prompt(text, pipeline._execution_device, 1, False)[0],)

    def token_usage(self, pipeline: Pipeline, generation: Generation) -> TokenUsage:
        """Count CLIP's tokens; it reads up to 77."""
        return count_tokens(pipeline.tokenizer, pipeline.tokenizer.model_max_length, generation, latent_side=8)
