"""HiDream-I1: a 17-billion-parameter mixture-of-experts transformer with four text encoders; text to image only.

Source: the HiDream-ai/HiDream-I1-Full, -Dev and -Fast model cards and diffusers `pipeline_hidream_image.py` (0.42).
"""

import math
from collections.abc import Mapping

from imageserver.engine.families.flow import FlowFamily, FlowMerger
from imageserver.engine.language.language_model import LanguageModel, open_language_model
from imageserver.engine.pipelines.generated_size import generated_size
from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache, Encoded
from imageserver.engine.pipelines.texts.separate_text_encoder import SeparateTextEncoder
from imageserver.engine.pipelines.texts.token_counts import TokenUsage, count_tokens
from imageserver.engine.pipelines.types import Defaults, Kind, Pipeline, PipelineArguments
from imageserver.generation import Generation

MAX_PROMPT_TOKENS = 128
# The noise scheduler of the distilled models Dev and Fast, which generate without guidance.
DISTILLED = "FlowMatchLCMScheduler"


class HiDreamImage(FlowFamily):
    """Text to image; guidance is a second row of the same call, and every text is padded to 128 tokens."""

    name = "hidream-i1"
    pipeline_classes: Mapping[Kind, str] = {"text": "HiDreamImagePipeline"}
    separate_text_encoder = SeparateTextEncoder(
        "text_encoder_4", "tokenizer_4", "Llama-3.1-8B-Instruct", {"output_hidden_states": True}
    )
    merger = FlowMerger(
        text="encoder_hidden_states_t5",
        batched={
            "hidden_states": 0,
            "timesteps": 0,
            "encoder_hidden_states_t5": 0,
            # One for each layer of Llama.
            "encoder_hidden_states_llama3": 1,
            "pooled_embeds": 0,
        },
    )

    def language_model(self, pipeline: Pipeline) -> LanguageModel | None:
        return open_language_model(pipeline.text_encoder_4, pipeline.tokenizer_4)

    def defaults(self, pipeline: Pipeline) -> Defaults:
        """Return those of Full or of Dev, by the noise scheduler; Fast looks like Dev, but was made for 16 steps."""
        if type(pipeline.scheduler).__name__ == DISTILLED:
            return Defaults(steps=28, guidance=0.0)
        return Defaults(steps=50, guidance=5.0)

    def max_tokens(self, pipeline: Pipeline) -> int | None:
        """Return the positions of the model: an image of 1024 x 1024."""
        return int(pipeline.transformer.max_seq)

    def arguments(self, pipeline: Pipeline, generation: Generation, cache: EmbeddingCache) -> PipelineArguments:
        """Return the call's arguments, and set the size that the image's own `pipeline` generates at.

        Left alone, the pipeline scales every size to the area of a square of `default_sample_size` latents.
        """

        def encode(text: str) -> Encoded:
            t5, _, llama, _, pooled, _ = pipeline.encode_prompt(
                text, do_classifier_free_guidance=False, max_sequence_length=MAX_PROMPT_TOKENS
            )
            return t5, llama, pooled

        multiple = self.size_multiple(pipeline)
        width, height = generated_size(generation.width, generation.height, multiple, self.max_tokens(pipeline))
        # Rounded up in the last digit: the pipeline rounds the scaled size down.
        pipeline.default_sample_size = math.sqrt(width * height) * (1 + 1e-9) / pipeline.vae_scale_factor
        t5, llama, pooled = cache.get(generation.prompt, encode)
        arguments: PipelineArguments = {
            "prompt_embeds_t5": t5,
            "prompt_embeds_llama3": llama,
            "pooled_prompt_embeds": pooled,
            "guidance_scale": generation.true_cfg_scale,
            "num_inference_steps": generation.steps,
        }
        if generation.true_cfg_scale > 1:
            t5, llama, pooled = cache.get(generation.negative_prompt.strip(), encode, pinned=True)
            arguments |= {
                "negative_prompt_embeds_t5": t5,
                "negative_prompt_embeds_llama3": llama,
                "negative_pooled_prompt_embeds": pooled,
            }
        return arguments

    def token_usage(self, pipeline: Pipeline, generation: Generation) -> TokenUsage:
        """Count Llama's tokens; it reads up to 128, as do the other encoders."""
        side, most = self.size_multiple(pipeline), self.max_tokens(pipeline)
        return count_tokens(pipeline.tokenizer_4, MAX_PROMPT_TOKENS, generation, latent_side=side, max_tokens=most)
