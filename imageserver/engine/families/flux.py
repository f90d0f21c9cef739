"""FLUX.1: a 12-billion-parameter flow transformer with a CLIP and a T5, its guidance distilled into it.

Source: the black-forest-labs/FLUX.1-dev and -schnell model cards and diffusers `pipeline_flux.py` (0.42).
"""

from collections.abc import Mapping

import torch

from imageserver.engine.families.flow import FlowFamily, FlowMerger, clean_flow_latents
from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache, Encoded
from imageserver.engine.pipelines.texts.token_counts import TokenUsage, count_tokens_of_distilled
from imageserver.engine.pipelines.types import Defaults, Kind, Pipeline, PipelineArguments
from imageserver.generation import Generation


class Flux(FlowFamily):
    """Text, image or masked image to image; dev reads guidance as a number, schnell generates without any."""

    name = "flux"
    pipeline_classes: Mapping[Kind, str] = {
        "text": "FluxPipeline",
        "image": "FluxImg2ImgPipeline",
        "inpaint": "FluxInpaintPipeline",
    }
    merger = FlowMerger(
        text="encoder_hidden_states",
        batched=dict.fromkeys(
            ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep", "guidance"), 0
        ),
        positions="img_ids",
    )

    def defaults(self, pipeline: Pipeline) -> Defaults:
        """Return those of the model cards of dev and of schnell."""
        return Defaults(steps=50, guidance=3.5) if _reads_guidance(pipeline) else Defaults(steps=4, guidance=0.0)

    def arguments(self, pipeline: Pipeline, generation: Generation, cache: EmbeddingCache) -> PipelineArguments:
        """Return the call's arguments, without a negative prompt."""
        most = _max_prompt_tokens(pipeline)

        def encode(text: str) -> Encoded:
            embeddings, pooled, _ = pipeline.encode_prompt(text, max_sequence_length=most)
            return embeddings, pooled

        embeddings, pooled = cache.get(generation.prompt, encode)
        return {
            "prompt_embeds": embeddings,
            "pooled_prompt_embeds": pooled,
            "guidance_scale": generation.true_cfg_scale,
            "num_inference_steps": generation.steps,
            "max_sequence_length": most,
        }

    def preview_latents(
        self, pipeline: Pipeline, tensors: Mapping[str, torch.Tensor], width: int, height: int
    ) -> torch.Tensor:
        clean = clean_flow_latents(pipeline.scheduler, tensors)
        unpacked: torch.Tensor = pipeline._unpack_latents(clean, height, width, pipeline.vae_scale_factor)
        return unpacked[0]

    def token_usage(self, pipeline: Pipeline, generation: Generation) -> TokenUsage:
        """Count T5's tokens, and warn about parameters that a distilled model ignores."""
        return count_tokens_of_distilled(
            pipeline.tokenizer_2, _max_prompt_tokens(pipeline), generation,
            latent_side=self.size_multiple(pipeline), reads_guidance=_reads_guidance(pipeline),
        )  # fmt: skip


def _reads_guidance(pipeline: Pipeline) -> bool:
    """Return whether the model reads guidance, as dev does and schnell does not."""
    return bool(pipeline.transformer.config.guidance_embeds)


def _max_prompt_tokens(pipeline: Pipeline) -> int:
    """Return the tokens that T5 reads and that every text is padded to."""
    return 512 if _reads_guidance(pipeline) else 256
