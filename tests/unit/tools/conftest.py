"""A model that the demo model's tools can train beside."""

from typing import Any

import torch

from tests.support import tiny_models


def tiny_demo() -> Any:
    """Return a tiny model with as many latent channels as the demo model."""
    pipeline = tiny_models.tiny_qwen_image()
    vae, transformer = pipeline.vae, pipeline.transformer
    vae.register_to_config(z_dim=12, latents_mean=[0.1] * 12, latents_std=[0.6] * 12)
    pipeline.transformer = type(transformer).from_config(
        dict(transformer.config) | {"in_channels": 48, "out_channels": 12}
    )
    torch.manual_seed(0)
    for parameter in pipeline.transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return pipeline
