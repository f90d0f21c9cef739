"""What the flow transformers share: calls whose tensors are joined along the batch, and an AutoencoderKL.

Source: diffusers `scheduling_flow_match_euler_discrete.py`, `autoencoder_kl.py` (0.42).
"""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from imageserver.engine.pipelines.merging import Arguments
from imageserver.engine.pipelines.noise_schedulers import FLOW
from imageserver.engine.pipelines.separate_text_encoder import SeparateTextEncoder
from imageserver.engine.pipelines.types import Pipeline
from imageserver.generation import Generation


class FlowMerger:
    """Merge calls whose tensors have equal shapes, texts included: what is merged is then computed as it is alone."""

    def __init__(self, *, text: str, batched: Mapping[str, int], positions: str = "") -> None:
        """Join the arguments in `batched`, each along its batch dimension.

        `text` names the one with the text's tokens in its last dimension but one; `positions`, where the image's
        tokens lie in one row, the one whose last row tells the image's grid.
        """
        self._text = text
        self._batched = batched
        self._positions = positions

    def shape_of(self, call: Arguments) -> Hashable:
        """Return every tensor's shape without its batch, the number format, and the image's grid."""
        shapes = [_shape_without(call.get(name), dimension) for name, dimension in self._batched.items()]
        grid = tuple(call[self._positions][-1].tolist()) if self._positions else ()
        return (tuple(shapes), call["hidden_states"].dtype, grid)

    def batch_size(self, call: Arguments) -> int:
        """Return the images of one call, guidance in the same call counting double."""
        return int(call["hidden_states"].shape[0])

    def text_length(self, call: Arguments) -> int:
        """Return the tokens of text."""
        return int(call[self._text].shape[-2])

    def token_count(self, call: Arguments) -> int:
        """Return the positions of the image plus the tokens of its text."""
        states = call["hidden_states"]
        # (batch, channels, height, width), or (batch, tokens, channels).
        positions = states.shape[2] * states.shape[3] if states.ndim == 4 else states.shape[1]
        return int(positions) + self.text_length(call)

    def merge(self, calls: Sequence[Arguments]) -> dict[str, Any]:
        """Concatenate along the batch; what there is none of stays none."""
        joined = {
            name: torch.cat([call[name] for call in calls], dimension)
            for name, dimension in self._batched.items()
            if calls[0].get(name) is not None
        }
        return {**calls[0], **joined}


class FlowFamily:
    """The part of a family that flow transformers share: 2 x 2 patches of an AutoencoderKL's latents."""

    denoiser = "transformer"
    noise_schedulers = FLOW
    guidance = "guidance_scale"
    loading: Mapping[str, Any] = {}
    separate_text_encoder: SeparateTextEncoder | None = None
    positive_magic: Mapping[str, str] = {}
    max_images = 1
    layers = 0
    control_net = ""
    preview_tensors = ("latents", "noise_pred")

    def load_parts(self, folder: Path) -> dict[str, Any]:
        """Return none: diffusers can load every part."""
        return {}

    def customize(self, pipeline: Pipeline) -> None:
        """Leave the pipeline as it was published."""

    def strength_for(self, generation: Generation) -> float:
        """Return the strength of a generation that starts from an image."""
        assert generation.source is not None
        return generation.source.strength

    def size_multiple(self, pipeline: Pipeline) -> int:
        """Return pixels per token: the VAE's factor times the 2 x 2 patches."""
        return int(pipeline.vae_scale_factor) * 2

    def max_tokens(self, pipeline: Pipeline) -> int | None:
        """Return None: an image may have any number of tokens."""
        return None

    def calls_per_step(self, generation: Generation) -> int:
        """Return the denoiser calls of one step: guidance is part of it."""
        return 1

    def preview_latents(
        self, pipeline: Pipeline, tensors: Mapping[str, torch.Tensor], width: int, height: int
    ) -> torch.Tensor:
        """Return the latents (channels, height, width) that the image would have if the last direction held."""
        return clean_flow_latents(pipeline.scheduler, tensors)[0]

    def encode_for_preview(self, pipeline: Pipeline, image: torch.Tensor) -> torch.Tensor:
        """Return the latents (channels, height, width) of an image (1, 3, height, width) in [-1, 1]."""
        vae = pipeline.vae
        latents = vae.encode(image.to(pipeline._execution_device, vae.dtype)).latent_dist.mode()
        scaled: torch.Tensor = (latents[0].float() - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
        return scaled


def clean_flow_latents(scheduler: Any, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the latents without the noise that the model last saw in them.

    A flow's noisy latents are x = (1 - s) * image + s * noise and the model predicts noise - image.
    """
    sigma = scheduler.sigmas[scheduler.step_index].to(tensors["latents"].device)
    clean: torch.Tensor = tensors["latents"].float() - sigma * tensors["noise_pred"].float()
    return clean


def _shape_without(tensor: torch.Tensor | None, dimension: int) -> tuple[int, ...] | None:
    if tensor is None:
        return None
    return tuple(size for index, size in enumerate(tensor.shape) if index != dimension)
