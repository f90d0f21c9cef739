"""Qwen-Image 2.1: a 7-billion-parameter single-stream transformer with a Qwen3-VL that reads text and images.

Source: the Qwen/Qwen-Image-2.1 model card and diffusers `pipeline_qwenimage21.py` (0.42).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imageserver.engine.families.qwen_image import QwenImage
from imageserver.engine.language.language_model import LanguageModel, open_language_model
from imageserver.engine.pipelines.image_processor import ImageProcessor3, cut, load_image_processor
from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache, Encoded
from imageserver.engine.pipelines.texts.token_counts import TokenUsage, count_tokens
from imageserver.engine.pipelines.types import Defaults, Kind, Pipeline, PipelineArguments
from imageserver.generation import Generation

# The pipeline does not cut, and the transformer has 8192 positions for texts and images together.
MAX_PROMPT_TOKENS = 4096


class QwenImage21(QwenImage):
    """Text to image, and images with an instruction to image; meant to be generated without guidance.

    Each image keeps the transformer's results for its text and source images from the first step, so images
    share no forward.
    """

    name = "qwen-image-2.1"
    pipeline_classes: Mapping[Kind, str] = {"text": "QwenImage21Pipeline", "edit": "QwenImage21Pipeline"}
    control_net = ""
    positive_magic: Mapping[str, str] = {}
    max_images = 10
    transparency = True
    merger = None
    text_arguments = ()

    def load_components(self, folder: Path) -> dict[str, Any]:
        return {"processor": load_image_processor(folder / "processor", ImageProcessor3)}

    def language_model(self, pipeline: Pipeline) -> LanguageModel | None:
        return open_language_model(pipeline.text_encoder, pipeline.processor.tokenizer)

    def defaults(self, pipeline: Pipeline) -> Defaults:
        """Return those of the model card; a distilled model's configuration has the noise of each of its steps."""
        return Defaults(steps=len(pipeline.config.sample_sigmas or ()) or 40, guidance=1.0)

    def arguments(self, pipeline: Pipeline, generation: Generation, cache: EmbeddingCache) -> PipelineArguments:
        """Return the call's arguments; texts that are read with images are not cached."""
        tokenizer = pipeline.processor.tokenizer
        prompt, negative = (
            cut(tokenizer, text, MAX_PROMPT_TOKENS)
            for text in (generation.prompt, generation.negative_prompt.strip() or " ")
        )
        guided = self.calls_per_step(pipeline, generation) == 2
        arguments: PipelineArguments = {
            "true_cfg_scale": generation.true_cfg_scale,
            "num_inference_steps": generation.steps,
        }
        own = pipeline.config.sample_sigmas
        if own is not None and len(own) != generation.steps:
            # The model's own would override the number of steps.
            arguments["sigmas"] = np.linspace(1.0, 1 / generation.steps, generation.steps)
        if generation.source is not None:
            return arguments | {"prompt": prompt} | ({"negative_prompt": negative} if guided else {})

        def encode(text: str) -> Encoded:
            return (pipeline.encode_prompt(text)[0],)

        arguments["prompt_embeds"] = cache.get(prompt, encode)[0]
        if guided:
            arguments["negative_prompt_embeds"] = cache.get(negative, encode, pinned=True)[0]
        return arguments

    def encode_for_preview(self, pipeline: Pipeline, image: torch.Tensor) -> torch.Tensor:
        return super().encode_for_preview(pipeline, torch.cat([image, torch.ones_like(image[:, :1])], 1))

    def token_usage(self, pipeline: Pipeline, generation: Generation) -> TokenUsage:
        """Count Qwen's tokens; an image has four for each square of `size_multiple` pixels."""
        side = self.size_multiple(pipeline)
        usage = count_tokens(pipeline.processor.tokenizer, MAX_PROMPT_TOKENS, generation, latent_side=side)
        return replace(usage, image_tokens=4 * usage.image_tokens)
