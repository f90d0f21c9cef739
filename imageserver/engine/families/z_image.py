"""Z-Image and Z-Image-Turbo: a 6-billion-parameter single-stream flow transformer with a Qwen3 text encoder.

Source: the Tongyi-MAI/Z-Image and Z-Image-Turbo model cards and diffusers `pipeline_z_image.py` (0.42).
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch

from imageserver.engine.families.flow import FlowFamily
from imageserver.engine.pipelines.merger import Arguments
from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache, Encoded
from imageserver.engine.pipelines.texts.token_counts import TokenUsage, count_tokens, tokens_before_prompt
from imageserver.engine.pipelines.types import Defaults, Kind, Pipeline, PipelineArguments
from imageserver.generation import Generation

MAX_PROMPT_TOKENS = 512
# The transformer pads every text to a multiple of this; longer neighbours cost the rest, which it masks.
TEXT_MULTIPLE = 32
# The shift of the distilled model's noise scheduler; that of Z-Image itself is 6.
TURBO_SHIFT = 3.0


class ZImageMerger:
    """Merge calls of `ZImageTransformer2DModel`, which takes lists: an image and a text for each row."""

    def shape_of(self, call: Arguments) -> Hashable:
        return (tuple(call["x"][0].shape), call["x"][0].dtype)

    def batch_size(self, call: Arguments) -> int:
        """Return the images of one call, guidance counting double."""
        return len(call["x"])

    def text_length(self, call: Arguments) -> int:
        """Return the tokens that the longest text is padded to."""
        longest = max(len(text) for text in call["cap_feats"])
        return -(-longest // TEXT_MULTIPLE) * TEXT_MULTIPLE

    def token_count(self, call: Arguments) -> int:
        """Return the 2 x 2 patches of the image plus the tokens of text."""
        _, _, height, width = call["x"][0].shape
        return int(height * width) // 4 + self.text_length(call)

    def merge(self, calls: Sequence[Arguments]) -> dict[str, Any]:
        """Put the lists one after the other."""
        rows = {name: [row for call in calls for row in call[name]] for name in ("x", "cap_feats")}
        return {**calls[0], **rows, "t": torch.cat([call["t"] for call in calls])}

    def rows(self, call: Arguments) -> list[Arguments]:
        """Return a call for each image, of the same tensors."""
        parts = ("x", "cap_feats", "t")
        return [{**call, **{name: call[name][row : row + 1] for name in parts}} for row in range(self.batch_size(call))]


class ZImage(FlowFamily):
    """Text, image or masked image to image; guidance is a second row of the same call."""

    name = "z-image"
    pipeline_classes: Mapping[Kind, str] = {
        "text": "ZImagePipeline",
        "image": "ZImageImg2ImgPipeline",
        "inpaint": "ZImageInpaintPipeline",
    }
    merger = ZImageMerger()

    def defaults(self, pipeline: Pipeline) -> Defaults:
        """Return those of the model cards; Turbo is recognised by its noise scheduler."""
        if pipeline.scheduler.config.shift == TURBO_SHIFT:
            return Defaults(steps=8, guidance=0.0)
        return Defaults(steps=50, guidance=4.0)

    def arguments(self, pipeline: Pipeline, generation: Generation, cache: EmbeddingCache) -> PipelineArguments:
        """Return the call's arguments; without guidance the negative prompt is not read."""

        def encode(text: str) -> Encoded:
            embeddings, _ = pipeline.encode_prompt(
                text, do_classifier_free_guidance=False, max_sequence_length=MAX_PROMPT_TOKENS
            )
            return tuple(embeddings)

        arguments: PipelineArguments = {
            "prompt_embeds": list(cache.get(generation.prompt, encode)),
            # The pipeline would guide with scales up to 1 too; in all families here they switch guidance off.
            "guidance_scale": generation.true_cfg_scale if generation.true_cfg_scale > 1 else 0.0,
            "num_inference_steps": generation.steps,
        }
        if generation.true_cfg_scale > 1:
            negative = cache.get(generation.negative_prompt.strip(), encode, pinned=True)
            arguments["negative_prompt_embeds"] = list(negative)
        return arguments

    def token_usage(self, pipeline: Pipeline, generation: Generation) -> TokenUsage:
        """Count Qwen's tokens; it reads up to 512, including those of the template before the prompt."""
        most = MAX_PROMPT_TOKENS - tokens_before_prompt(pipeline.tokenizer)
        return count_tokens(pipeline.tokenizer, most, generation, latent_side=self.size_multiple(pipeline))
