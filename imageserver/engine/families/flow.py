"""Shared by the flow transformers: calls whose tensors are joined along the batch, and an AutoencoderKL.

Source: diffusers `scheduling_flow_match_euler_discrete.py` (0.42).
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from imageserver.engine.families.family import Family
from imageserver.engine.pipelines.merger import Arguments
from imageserver.engine.pipelines.noise_schedulers import FLOW
from imageserver.engine.pipelines.types import Pipeline


class FlowMerger:
    """Merge calls whose tensors have equal shapes, texts included: a merged call is then computed as it is alone."""

    def __init__(self, *, text: str, batched: Mapping[str, int], positions: str = "") -> None:
        """Join the arguments in `batched`, each along its batch dimension.

        `text` names the one with the text's tokens in its last dimension but one; `positions`, where the image's
        tokens lie in one row, the one whose last row is the image's grid.
        """
        self._text = text
        self._batched = batched
        self._positions = positions
        self._grids = WeakTensorKeyDictionary()

    def shape_of(self, call: Arguments) -> Hashable:
        """Return every tensor's shape without its batch, the number format, and the image's grid."""
        shapes = [_shape_without(call.get(name), dimension) for name, dimension in self._batched.items()]
        return (tuple(shapes), call["hidden_states"].dtype, self._grid(call) if self._positions else ())

    def batch_size(self, call: Arguments) -> int:
        """Return the images of one call, guidance in the same call counting double."""
        return int(call["hidden_states"].shape[0])

    def text_length(self, call: Arguments) -> int:
        return int(call[self._text].shape[-2])

    def token_count(self, call: Arguments) -> int:
        """Return the positions of the image plus the tokens of its text."""
        states = call["hidden_states"]
        # (batch, channels, height, width), or (batch, tokens, channels).
        positions = states.shape[2] * states.shape[3] if states.ndim == 4 else states.shape[1]
        return int(positions) + self.text_length(call)

    def merge(self, calls: Sequence[Arguments]) -> dict[str, Any]:
        """Concatenate along the batch; None stays None."""
        joined = {
            name: torch.cat([call[name] for call in calls], dimension)
            for name, dimension in self._batched.items()
            if calls[0].get(name) is not None
        }
        return {**calls[0], **joined}

    def rows(self, call: Arguments) -> list[Arguments]:
        """Return a call for each image, of the same tensors."""
        given = {name: dimension for name, dimension in self._batched.items() if call.get(name) is not None}
        return [
            {**call, **{name: call[name].narrow(dimension, row, 1) for name, dimension in given.items()}}
            for row in range(self.batch_size(call))
        ]

    def _grid(self, call: Arguments) -> tuple[float, ...]:
        """Return the image's grid; to read it takes a wait for the device, so it is read once per image."""
        positions = call[self._positions]
        if positions not in self._grids:
            self._grids[positions] = tuple(positions[-1].tolist())
        grid: tuple[float, ...] = self._grids[positions]
        return grid


class FlowFamily(Family):
    """The part of a family that flow transformers share: 2 x 2 patches of an AutoencoderKL's latents."""

    denoiser = "transformer"
    noise_schedulers = FLOW

    def size_multiple(self, pipeline: Pipeline) -> int:
        """Return pixels per token: the VAE's factor times the 2 x 2 patches."""
        return int(pipeline.vae_scale_factor) * 2

    def preview_latents(
        self, pipeline: Pipeline, tensors: Mapping[str, torch.Tensor], width: int, height: int
    ) -> torch.Tensor:
        """Return the latents (channels, height, width) that the image would have if the last direction held."""
        return clean_flow_latents(pipeline.scheduler, tensors)[0]


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
