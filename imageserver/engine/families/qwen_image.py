"""Qwen-Image: a 20-billion-parameter MMDiT with a Qwen2.5-VL text encoder, and the embedded demo model.

Source: the Qwen/Qwen-Image model card and diffusers `pipeline_qwenimage.py` (0.42).
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import pad

from imageserver.engine.families.flow import FlowFamily, clean_flow_latents
from imageserver.engine.pipelines.merger import Arguments, Merger
from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache, Encoded
from imageserver.engine.pipelines.texts.token_counts import TokenUsage, count_tokens
from imageserver.engine.pipelines.types import Defaults, Kind, Pipeline, PipelineArguments
from imageserver.generation import POSITIVE_MAGIC, Generation

MAX_PROMPT_TOKENS = 1024


class QwenImageMerger:
    """Merge calls of `QwenImageTransformer2DModel`; different `img_shapes` in one forward are silently wrong."""

    def shape_of(self, call: Arguments) -> Hashable:
        """Return the image's token grid, the number format and how many blocks a ControlNet guides."""
        states = call["hidden_states"]
        first = call["img_shapes"][0]
        # The ControlNet's pipeline does not put the one grid into a list.
        grid = tuple(tuple(shape) for shape in first) if isinstance(first, list) else (tuple(first),)
        guided = len(call.get("controlnet_block_samples") or ())
        return (grid, tuple(states.shape[1:]), states.dtype, call.get("guidance") is None, guided)

    def batch_size(self, call: Arguments) -> int:
        return int(call["hidden_states"].shape[0])

    def text_length(self, call: Arguments) -> int:
        return int(call["encoder_hidden_states"].shape[1])

    def token_count(self, call: Arguments) -> int:
        return int(call["hidden_states"].shape[1]) + self.text_length(call)

    def merge(self, calls: Sequence[Arguments]) -> dict[str, Any]:
        """Concatenate along the batch; shorter texts are padded and masked (leaving the mask out is off by 2.6e-2)."""
        longest = max(self.text_length(call) for call in calls)
        texts = [pad(call["encoder_hidden_states"], (0, 0, 0, longest - self.text_length(call))) for call in calls]
        # Decided by lengths alone: to read a mask, every shared forward would wait for the device.
        alike = all(self.text_length(call) == longest and call["encoder_hidden_states_mask"] is None for call in calls)
        mask = None if alike else torch.cat([_mask(call, longest) for call in calls])
        guidance = None if calls[0].get("guidance") is None else torch.cat([call["guidance"] for call in calls])
        if calls[0].get("controlnet_block_samples"):
            blocks = zip(*(call["controlnet_block_samples"] for call in calls), strict=True)
            guided = {"controlnet_block_samples": [torch.cat(block) for block in blocks]}
        else:
            guided = {}
        return {
            **calls[0],
            **guided,
            "hidden_states": torch.cat([call["hidden_states"] for call in calls]),
            "timestep": torch.cat([call["timestep"] for call in calls]),
            "guidance": guidance,
            "encoder_hidden_states": torch.cat(texts),
            "encoder_hidden_states_mask": mask,
            "img_shapes": [shape for call in calls for shape in call["img_shapes"]],
        }


class QwenImage(FlowFamily):
    """Text, image or masked image to image; guidance runs only with true_cfg_scale > 1 and a negative prompt."""

    name = "qwen-image"
    pipeline_classes: Mapping[Kind, str] = {
        "text": "QwenImagePipeline",
        "image": "QwenImageImg2ImgPipeline",
        "inpaint": "QwenImageInpaintPipeline",
        "control": "QwenImageControlNetPipeline",
    }
    control_net = "QwenImageControlNetModel"
    # Source: diffusers `controlnet_qwenimage.py` (0.42): it sums several images, but of one ControlNet.
    combined_control_net = "QwenImageMultiControlNetModel"
    guidance = "true_cfg_scale"
    positive_magic: Mapping[str, str] = POSITIVE_MAGIC
    merger: Merger | None = QwenImageMerger()
    text_arguments: tuple[str, ...] = ("encoder_hidden_states", "encoder_hidden_states_mask")

    def defaults(self, pipeline: Pipeline) -> Defaults:
        """Return those of this server's API."""
        return Defaults(steps=20, guidance=4.0)

    def calls_per_step(self, pipeline: Pipeline, generation: Generation) -> int:
        return 2 if generation.true_cfg_scale > 1 else 1

    def arguments(self, pipeline: Pipeline, generation: Generation, cache: EmbeddingCache) -> PipelineArguments:
        """Return the call's arguments; a negative prompt of one blank still means guidance."""

        def encode(text: str) -> Encoded:
            embeddings, mask = pipeline.encode_prompt(text, max_sequence_length=MAX_PROMPT_TOKENS)
            # The pipeline warns about embeddings without a mask, and drops a mask of ones by itself.
            ones = torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)
            return embeddings, ones if mask is None else mask

        embeddings, mask = cache.get(generation.prompt, encode)
        arguments: PipelineArguments = {
            "prompt_embeds": embeddings,
            "prompt_embeds_mask": mask,
            "true_cfg_scale": generation.true_cfg_scale,
            "num_inference_steps": generation.steps,
            "max_sequence_length": MAX_PROMPT_TOKENS,
        }
        if self.calls_per_step(pipeline, generation) == 2:
            embeddings, mask = cache.get(generation.negative_prompt or " ", encode, pinned=True)
            arguments |= {"negative_prompt_embeds": embeddings, "negative_prompt_embeds_mask": mask}
        return arguments

    def preview_latents(
        self, pipeline: Pipeline, tensors: Mapping[str, torch.Tensor], width: int, height: int
    ) -> torch.Tensor:
        clean = clean_flow_latents(pipeline.scheduler, tensors)
        unpacked: torch.Tensor = pipeline._unpack_latents(clean, height, width, pipeline.vae_scale_factor)
        return unpacked[0, :, 0]

    def encode_for_preview(self, pipeline: Pipeline, image: torch.Tensor) -> torch.Tensor:
        vae = pipeline.vae
        frames = image.to(pipeline._execution_device, vae.dtype).unsqueeze(2)
        latents = vae.encode(frames).latent_dist.mode()[0, :, 0].float()
        mean, std = (
            torch.tensor(values, device=latents.device)[:, None, None]
            for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        normalised: torch.Tensor = (latents - mean) / std
        return normalised

    def token_usage(self, pipeline: Pipeline, generation: Generation) -> TokenUsage:
        """Count tokens, and warn of text beyond their limit, which the pipeline cuts silently."""
        return count_tokens(pipeline.tokenizer, MAX_PROMPT_TOKENS, generation, latent_side=self.size_multiple(pipeline))


def _mask(call: Arguments, length: int) -> torch.Tensor:
    """Return a call's mask of `length` tokens; a pipeline that has dropped its own had one of ones."""
    text, mask = call["encoder_hidden_states"], call["encoder_hidden_states_mask"]
    if mask is None:
        mask = torch.ones(text.shape[:2], dtype=torch.long, device=text.device)
    return pad(mask, (0, length - text.shape[1]))
