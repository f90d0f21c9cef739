"""CogView4: a 6-billion-parameter flow transformer with a GLM-4 text encoder; it generates from text only.

Source: the THUDM/CogView4-6B model card and diffusers `pipeline_cogview4.py` (0.42).
"""

from collections.abc import Mapping

from imageserver.engine.families.flow import FlowFamily, FlowMerger
from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache, Encoded
from imageserver.engine.pipelines.texts.token_counts import TokenUsage, count_tokens
from imageserver.engine.pipelines.types import Defaults, Kind, Pipeline, PipelineArguments
from imageserver.generation import Generation

MAX_PROMPT_TOKENS = 1024


class CogView4(FlowFamily):
    """Text to image; a step with guidance makes two calls, whose texts may differ in length.

    diffusers' mask adds 1 to visible tokens and 0 to hidden ones, so it hides nothing: only equal lengths merge. They
    often are, as texts are padded to multiples of 16 tokens.
    """

    name = "cogview4"
    pipeline_classes: Mapping[Kind, str] = {"text": "CogView4Pipeline"}
    merger = FlowMerger(
        text="encoder_hidden_states",
        batched=dict.fromkeys(
            ("hidden_states", "encoder_hidden_states", "timestep", "original_size", "target_size", "crop_coords"), 0
        ),
    )
    text_arguments = ("encoder_hidden_states",)

    def defaults(self, pipeline: Pipeline) -> Defaults:
        return Defaults(steps=50, guidance=5.0)

    def calls_per_step(self, pipeline: Pipeline, generation: Generation) -> int:
        return 2 if generation.true_cfg_scale > 1 else 1

    def arguments(self, pipeline: Pipeline, generation: Generation, cache: EmbeddingCache) -> PipelineArguments:
        """Return the call's arguments; without guidance the negative prompt is not read."""

        def encode(text: str) -> Encoded:
            embeddings, _ = pipeline.encode_prompt(
                text, do_classifier_free_guidance=False, max_sequence_length=MAX_PROMPT_TOKENS
            )
            return (embeddings,)

        arguments: PipelineArguments = {
            "prompt_embeds": cache.get(generation.prompt, encode)[0],
            "guidance_scale": generation.true_cfg_scale,
            "num_inference_steps": generation.steps,
        }
        if generation.true_cfg_scale > 1:
            arguments["negative_prompt_embeds"] = cache.get(generation.negative_prompt.strip(), encode, pinned=True)[0]
        return arguments

    def token_usage(self, pipeline: Pipeline, generation: Generation) -> TokenUsage:
        """Count GLM's tokens; it reads up to 1024."""
        return count_tokens(pipeline.tokenizer, MAX_PROMPT_TOKENS, generation, latent_side=self.size_multiple(pipeline))
