"""FLUX.2-klein: a flow transformer of 4 or 9 billion parameters that generates and edits, with a Qwen3 text encoder.

Source: the black-forest-labs/FLUX.2-klein-4B and -base-4B model cards and diffusers `pipeline_flux2_klein.py`,
`pipeline_flux2_klein_inpaint.py` (0.42).
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch

from imageserver.engine.families.flow import FlowMerger, clean_flow_latents
from imageserver.engine.families.flux2_vae import Flux2VaeFamily, unpatched
from imageserver.engine.pipelines.generated_size import generated_size
from imageserver.engine.pipelines.merger import Arguments
from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache, Encoded
from imageserver.engine.pipelines.texts.token_counts import (
    TokenUsage,
    count_tokens,
    count_tokens_of_distilled,
    tokens_before_prompt,
)
from imageserver.engine.pipelines.types import Defaults, Kind, Pipeline, PipelineArguments
from imageserver.errors import InvalidParameter
from imageserver.generation import Generation

MAX_PROMPT_TOKENS = 512
# The pipeline raises for images that are longer, and scales larger ones down before it inpaints.
MAX_ASPECT_RATIO = 8
MAX_INPAINTED_PIXELS = 1024 * 1024


class Flux2KleinMerger(FlowMerger):
    """Merge calls of `Flux2Transformer2DModel`, which takes the positions of the first image for all."""

    def __init__(self) -> None:
        """Join everything but the positions."""
        names = ("hidden_states", "encoder_hidden_states", "timestep")
        super().__init__(text="encoder_hidden_states", batched=dict.fromkeys(names, 0), positions="img_ids")

    def _grid(self, call: Arguments) -> tuple[float, ...]:
        """Return the last position of the image and of each that it is made from, read once per image.

        The pipeline joins the positions of an edit again in every step; those of the text stay one object.
        """
        text = call["txt_ids"]
        if text not in self._grids:
            positions = call["img_ids"][0].cpu()
            ends = torch.cat([positions[1:, 0] != positions[:-1, 0], torch.ones(1, dtype=torch.bool)])
            self._grids[text] = tuple(positions[ends].flatten().tolist())
        grid: tuple[float, ...] = self._grids[text]
        return grid


class Flux2Klein(Flux2VaeFamily):
    """Text, up to four images with an instruction, or a masked image to image.

    Guidance is distilled into the models of 4 steps; with guidance, a step of a base model makes two calls.
    """

    name = "flux.2-klein"
    pipeline_classes: Mapping[Kind, str] = {
        "text": "Flux2KleinPipeline",
        "edit": "Flux2KleinPipeline",
        "inpaint": "Flux2KleinInpaintPipeline",
    }
    merger = Flux2KleinMerger()
    max_images = 4
    text_arguments = ("encoder_hidden_states", "txt_ids")
    preview_tensors = ("latents", "noise_pred", "latent_image_ids")

    def defaults(self, pipeline: Pipeline) -> Defaults:
        """Return those of the model cards of the distilled models and of the base models."""
        return Defaults(steps=4, guidance=1.0) if _is_distilled(pipeline) else Defaults(steps=50, guidance=4.0)

    def calls_per_step(self, pipeline: Pipeline, generation: Generation) -> int:
        return 2 if generation.true_cfg_scale > 1 and not _is_distilled(pipeline) else 1

    def arguments(self, pipeline: Pipeline, generation: Generation, cache: EmbeddingCache) -> PipelineArguments:
        """Return the call's arguments; raises InvalidParameter for images that the pipeline would not take."""
        self._check_images(pipeline, generation)

        def encode(text: str) -> Encoded:
            return (pipeline.encode_prompt(text, max_sequence_length=MAX_PROMPT_TOKENS)[0],)

        guided = self.calls_per_step(pipeline, generation) == 2
        arguments: PipelineArguments = {
            "prompt_embeds": cache.get(generation.prompt, encode)[0],
            # The pipeline of a distilled model would only log that it ignores guidance.
            "guidance_scale": generation.true_cfg_scale if guided else 1.0,
            "num_inference_steps": generation.steps,
        }
        if guided:
            arguments["negative_prompt_embeds"] = cache.get(generation.negative_prompt.strip(), encode, pinned=True)[0]
        return arguments

    def preview_latents(
        self, pipeline: Pipeline, tensors: Mapping[str, torch.Tensor], width: int, height: int
    ) -> torch.Tensor:
        """Return the latents at the size that the pipeline has chosen."""
        clean = clean_flow_latents(pipeline.scheduler, tensors)
        # Those of the images that it is made from follow.
        positions = tensors["latent_image_ids"][:, : clean.shape[1]]
        patches = pipeline._unpack_latents_with_ids(clean, positions)
        return unpatched(pipeline, patches, pipeline.vae.config.batch_norm_eps)

    def token_usage(self, pipeline: Pipeline, generation: Generation) -> TokenUsage:
        """Count Qwen's tokens; it reads up to 512, including those of the template before the prompt."""
        most, side = MAX_PROMPT_TOKENS - tokens_before_prompt(pipeline.tokenizer), self.size_multiple(pipeline)
        if _is_distilled(pipeline):
            usage = count_tokens_of_distilled(pipeline.tokenizer, most, generation, latent_side=side)
        else:
            usage = count_tokens(pipeline.tokenizer, most, generation, latent_side=side)
        source = generation.source
        if source is None or not source.masked:
            return usage
        width, height = generated_size(generation.width, generation.height, side, None)
        if width * height <= MAX_INPAINTED_PIXELS:
            return usage
        scale = math.sqrt(MAX_INPAINTED_PIXELS / (width * height))
        width, height = (int(pixels * scale) // side * side for pixels in (width, height))
        warning = f"The model inpaints at most a megapixel: {width}x{height} was generated and enlarged."
        tokens = width * height // side**2 * generation.count
        return replace(usage, image_tokens=tokens, warnings=(*usage.warnings, warning))

    def _check_images(self, pipeline: Pipeline, generation: Generation) -> None:
        source = generation.source
        if source is None:
            return
        if source.masked and len(source.further) > 1:
            raise InvalidParameter("image: with a mask, the model reads one further image.", param="image")
        first = generated_size(generation.width, generation.height, self.size_multiple(pipeline), None)
        for width, height in () if source.masked else (first, *source.further):
            if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
                raise InvalidParameter(
                    f"image: {width}x{height} is too long and narrow; the model reads images whose sides are at most "
                    f"{MAX_ASPECT_RATIO}:1.",
                    param="image",
                )


def _is_distilled(pipeline: Pipeline) -> bool:
    """Return whether the model generates in few steps without guidance, as all but the base models do."""
    return bool(pipeline.config.is_distilled)
