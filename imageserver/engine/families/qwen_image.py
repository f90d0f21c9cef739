"""Qwen-Image: a 20-billion-parameter MMDiT with a Qwen2.5-VL text encoder, and its embedded tiny relative.

Source: the Qwen/Qwen-Image model card and diffusers `pipeline_qwenimage.py` (0.42).
"""

from imageserver.engine.pipelines import Pipeline, PipelineArguments
from imageserver.generation import Generation

MAX_PROMPT_TOKENS = 1024


class QwenImage:
    """Text to image; classifier-free guidance runs only with true_cfg_scale > 1 and a negative prompt."""

    name = "qwen-image"
    pipeline_class = "QwenImagePipeline"

    def size_multiple(self, pipeline: Pipeline) -> int:
        """Return pixels per packed latent: the VAE's factor times the 2 x 2 patches."""
        return int(pipeline.vae_scale_factor) * 2

    def arguments(self, generation: Generation) -> PipelineArguments:
        """Return the call's arguments; a negative prompt of one blank still means guidance."""
        guided = generation.true_cfg_scale > 1
        return {
            "prompt": generation.prompt,
            "negative_prompt": (generation.negative_prompt or " ") if guided else None,
            "true_cfg_scale": generation.true_cfg_scale,
            "num_inference_steps": generation.steps,
            "max_sequence_length": MAX_PROMPT_TOKENS,
        }

    def warnings(self, pipeline: Pipeline, generation: Generation) -> list[str]:
        """Tell of text beyond the token limit, which the pipeline cuts silently."""
        texts = {"prompt": generation.prompt}
        if generation.true_cfg_scale > 1:
            texts["negative_prompt"] = generation.negative_prompt
        warnings = []
        for name, text in texts.items():
            count = len(pipeline.tokenizer(text).input_ids)
            if count > MAX_PROMPT_TOKENS:
                warnings.append(f"{name} has {count} tokens; the model read the first {MAX_PROMPT_TOKENS}.")
        if generation.true_cfg_scale <= 1 and generation.negative_prompt.strip():
            warnings.append("negative_prompt has no effect with true_cfg_scale 1 or less.")
        return warnings
