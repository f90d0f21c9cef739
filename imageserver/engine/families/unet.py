"""Shared by the Stable Diffusion families: a UNet with guidance in one doubled call, and an AutoencoderKL.

Source: diffusers `unet_2d_condition.py`, `pipeline_stable_diffusion.py` (0.42).
"""

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch

from imageserver.engine.families.family import Family
from imageserver.engine.pipelines.merger import Arguments
from imageserver.engine.pipelines.noise_schedulers import DIFFUSION
from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache, Encoded
from imageserver.engine.pipelines.texts.weighted_encoding import encode_weighted
from imageserver.engine.pipelines.types import Pipeline
from imageserver.generation import MAX_CONTROLS, Generation, has_emphasis


class UNetMerger:
    """Merge calls of `UNet2DConditionModel`: every image may be at another timestep."""

    def shape_of(self, call: Arguments) -> Hashable:
        """Return the latents' shape, the text's, the number format and which extras there are, a ControlNet's too."""
        sample, text = call["sample"], call["encoder_hidden_states"]
        extras = tuple(sorted(call.get("added_cond_kwargs") or ()))
        guided = len(call.get("down_block_additional_residuals") or ())
        unconditioned = call.get("timestep_cond") is None
        return (tuple(sample.shape[1:]), tuple(text.shape[1:]), sample.dtype, unconditioned, extras, guided)

    def batch_size(self, call: Arguments) -> int:
        """Return the images of one call, guidance counting double."""
        return int(call["sample"].shape[0])

    def text_length(self, call: Arguments) -> int:
        """Return the tokens of text: CLIP pads to one length."""
        return int(call["encoder_hidden_states"].shape[1])

    def token_count(self, call: Arguments) -> int:
        return int(call["sample"].shape[2] * call["sample"].shape[3]) + self.text_length(call)

    def merge(self, calls: Sequence[Arguments]) -> dict[str, Any]:
        """Concatenate along the batch; timesteps become one per image."""
        merged = {**calls[0]}
        for name in ("sample", "encoder_hidden_states"):
            merged[name] = torch.cat([call[name] for call in calls])
        merged["timestep"] = torch.cat([call["timestep"].reshape(-1).expand(self.batch_size(call)) for call in calls])
        if calls[0].get("timestep_cond") is not None:
            merged["timestep_cond"] = torch.cat([call["timestep_cond"] for call in calls])
        if calls[0].get("down_block_additional_residuals"):
            blocks = zip(*(call["down_block_additional_residuals"] for call in calls), strict=True)
            merged["down_block_additional_residuals"] = [torch.cat(block) for block in blocks]
            merged["mid_block_additional_residual"] = torch.cat(
                [call["mid_block_additional_residual"] for call in calls]
            )
        extras = calls[0].get("added_cond_kwargs")
        if extras:
            merged["added_cond_kwargs"] = {
                name: torch.cat([call["added_cond_kwargs"][name] for call in calls]) for name in extras
            }
        return merged

    def rows(self, call: Arguments) -> list[Arguments]:
        """Return a call for each image, of the same tensors."""
        return [_row(call, row, self.batch_size(call)) for row in range(self.batch_size(call))]


class UNetFamily(Family):
    """The part of a family that every UNet pipeline shares."""

    denoiser = "unet"
    noise_schedulers = DIFFUSION
    merger = UNetMerger()
    control_net = "ControlNetModel"
    combined_control_net = "MultiControlNetModel"
    max_control_nets = MAX_CONTROLS
    float16 = True
    emphasis = True

    @abstractmethod
    def encode(self, pipeline: Pipeline, text: str) -> Encoded:
        """Return the embeddings of a text, and the pooled ones where the model reads them."""

    def encoded(
        self, pipeline: Pipeline, generation: Generation, text: str, cache: EmbeddingCache, *, pinned: bool = False
    ) -> Encoded:
        """Return the embeddings of one of the generation's texts, weighted where it asks for that."""
        weighted = generation.emphasis and has_emphasis(text)

        def encode(text: str) -> Encoded:
            return encode_weighted(pipeline, text, self.encode) if weighted else self.encode(pipeline, text)

        return cache.get(text, encode, pinned=pinned, weighted=weighted)

    def size_multiple(self, pipeline: Pipeline) -> int:
        return int(pipeline.vae_scale_factor)

    def strength_for(self, generation: Generation) -> float:
        """Return a strength that gives the generation's number of steps in a pipeline that rounds down."""
        return min(1.0, (generation.generated_steps + 0.5) / generation.steps)

    def preview_latents(
        self, pipeline: Pipeline, tensors: Mapping[str, torch.Tensor], width: int, height: int
    ) -> torch.Tensor:
        return clean_latents(pipeline.scheduler, tensors["latents"], tensors["noise_pred"])[0]


def clean_latents(scheduler: Any, latents: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """Return the latents without the noise that the model last saw in them.

    Noise schedulers keep the variance (x = alpha * image + sigma * noise) or let it explode (x = image + sigma *
    noise); the model predicts the noise or the velocity. Those without a list of sigmas show the noisy latents.
    """
    sigmas, index = getattr(scheduler, "sigmas", None), getattr(scheduler, "step_index", None)
    if sigmas is None or index is None:
        return latents.float()
    sigma = sigmas[min(index, len(sigmas) - 1)].to(latents.device, torch.float32)
    keeps_variance = hasattr(scheduler, "_sigma_to_alpha_sigma_t")
    alpha = 1 / (1 + sigma**2).sqrt()
    kept = latents.float() if keeps_variance else latents.float() * alpha
    noise_share = sigma * alpha
    if scheduler.config.get("prediction_type") == "v_prediction":
        clean: torch.Tensor = alpha * kept - noise_share * predicted.float()
    else:
        clean = (kept - noise_share * predicted.float()) / alpha
    return clean


def _row(value: Any, row: int, rows: int) -> Any:
    """Return one row of every tensor that has one for each image."""
    if isinstance(value, torch.Tensor):
        return value[row : row + 1] if value.ndim > 0 and len(value) == rows else value
    if isinstance(value, Mapping):
        return {name: _row(each, row, rows) for name, each in value.items()}
    return type(value)(_row(each, row, rows) for each in value) if type(value) in (list, tuple) else value
