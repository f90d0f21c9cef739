"""ERNIE-Image and ERNIE-Image-Turbo: an 8-billion-parameter single-stream flow transformer with a Ministral 3.

Source: the baidu/ERNIE-Image and ERNIE-Image-Turbo model cards and diffusers `pipeline_ernie_image.py` (0.42).
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import pad

from imageserver.engine.families.flow import clean_flow_latents
from imageserver.engine.families.flux2_vae import Flux2VaeFamily, unpatched
from imageserver.engine.pipelines.merger import Arguments
from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache, Encoded
from imageserver.engine.pipelines.texts.token_counts import TokenUsage, count_tokens
from imageserver.engine.pipelines.types import Defaults, Kind, Pipeline, PipelineArguments
from imageserver.generation import Generation

# A constant of the pipeline, which does not take the VAE's.
EPSILON = 1e-5


class ErnieImageMerger:
    """Merge calls of `ErnieImageTransformer2DModel`, which masks the text beyond each row's length."""

    def shape_of(self, call: Arguments) -> Hashable:
        """Return the shape of the latents and the number format."""
        states = call["hidden_states"]
        return (tuple(states.shape[1:]), states.dtype)

    def batch_size(self, call: Arguments) -> int:
        """Return the images of one call, guidance counting double."""
        return int(call["hidden_states"].shape[0])

    def text_length(self, call: Arguments) -> int:
        return int(call["text_bth"].shape[1])

    def token_count(self, call: Arguments) -> int:
        """Return the latents, each of them a token, plus the tokens of text."""
        return int(call["hidden_states"].shape[2] * call["hidden_states"].shape[3]) + self.text_length(call)

    def merge(self, calls: Sequence[Arguments]) -> dict[str, Any]:
        """Concatenate along the batch; shorter texts are padded."""
        longest = max(self.text_length(call) for call in calls)
        texts = [pad(call["text_bth"], (0, 0, 0, longest - self.text_length(call))) for call in calls]
        joined = {
            name: torch.cat([call[name] for call in calls]) for name in ("hidden_states", "timestep", "text_lens")
        }
        return {**calls[0], **joined, "text_bth": torch.cat(texts)}

    def rows(self, call: Arguments) -> list[Arguments]:
        """Return a call for each image, of the same tensors."""
        parts = ("hidden_states", "timestep", "text_lens", "text_bth")
        return [{**call, **{name: call[name][row : row + 1] for name in parts}} for row in range(self.batch_size(call))]


class ErnieImage(Flux2VaeFamily):
    """Text to image; guidance is a second row of the same call."""

    name = "ernie-image"
    pipeline_classes: Mapping[Kind, str] = {"text": "ErnieImagePipeline"}
    # A language model of 7.7 GB that rewrites prompts: what a client sends is generated as it is.
    loading: Mapping[str, Any] = {"pe": None, "pe_tokenizer": None}
    merger = ErnieImageMerger()
    preview_tensors = ("latents", "pred")

    def defaults(self, pipeline: Pipeline) -> Defaults:
        """Return those of ERNIE-Image; nothing in the files of Turbo tells it apart, so models.toml has its own."""
        return Defaults(steps=50, guidance=4.0)

    def size_multiple(self, pipeline: Pipeline) -> int:
        """Return the pixels of a token; this pipeline's factor includes the patches."""
        return int(pipeline.vae_scale_factor)

    def preview_scale(self, pipeline: Pipeline) -> int:
        return int(pipeline.vae_scale_factor) // 2

    def arguments(self, pipeline: Pipeline, generation: Generation, cache: EmbeddingCache) -> PipelineArguments:
        """Return the call's arguments; without guidance the negative prompt is not read."""

        def encode(text: str) -> Encoded:
            return tuple(pipeline.encode_prompt(text, pipeline._execution_device))

        arguments: PipelineArguments = {
            "prompt_embeds": list(cache.get(generation.prompt, encode)),
            "guidance_scale": generation.true_cfg_scale,
            "num_inference_steps": generation.steps,
        }
        if generation.true_cfg_scale > 1:
            negative = cache.get(generation.negative_prompt.strip(), encode, pinned=True)
            arguments["negative_prompt_embeds"] = list(negative)
        return arguments

    def preview_latents(
        self, pipeline: Pipeline, tensors: Mapping[str, torch.Tensor], width: int, height: int
    ) -> torch.Tensor:
        predicted = {"latents": tensors["latents"], "noise_pred": tensors["pred"]}
        return unpatched(pipeline, clean_flow_latents(pipeline.scheduler, predicted), EPSILON)

    def token_usage(self, pipeline: Pipeline, generation: Generation) -> TokenUsage:
        """Count Ministral's tokens, up to as many as its tokenizer keeps."""
        most, side = pipeline.tokenizer.model_max_length, self.size_multiple(pipeline)
        return count_tokens(pipeline.tokenizer, most, generation, latent_side=side)
