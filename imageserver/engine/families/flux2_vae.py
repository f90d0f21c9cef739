"""Shared by the families with the VAE of FLUX.2, whose latents are normalised in patches of 2 x 2.

Source: diffusers `autoencoder_kl_flux2.py` (0.42).
"""

import torch

from imageserver.engine.families.flow import FlowFamily
from imageserver.engine.pipelines.types import Pipeline


class Flux2VaeFamily(FlowFamily):
    """The part of a family that sees to its VAE; previews are of the latents before they are normalised."""

    def encode_for_preview(self, pipeline: Pipeline, image: torch.Tensor) -> torch.Tensor:
        vae = pipeline.vae
        latents: torch.Tensor = vae.encode(image.to(pipeline._execution_device, vae.dtype)).latent_dist.mode()
        return latents[0].float()


def unpatched(pipeline: Pipeline, patches: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Return the VAE's latents (channels, height, width) from patches (1, 4 * channels, height / 2, width / 2).

    `epsilon` is what the pipeline adds to the variance.
    """
    norm = pipeline.vae.bn
    mean, variance = (values.to(patches).view(1, -1, 1, 1) for values in (norm.running_mean, norm.running_var))
    latents: torch.Tensor = pipeline._unpatchify_latents(patches * torch.sqrt(variance + epsilon) + mean)
    return latents[0]
