"""Previews of a model whose VAE overflows in float16 show its colours: their map is fitted in float32."""

from typing import Any

import torch

from imageserver.engine.families import StableDiffusionXL
from imageserver.engine.runner.pipeline_runner import PipelineRunner
from tests.support import tiny_models

# Beyond what float16 holds, once the first convolution has added up its inputs; a norm brings it back.
SCALE = 30_000
SAMPLE = torch.linspace(-2, 2, 4 * 8 * 8).reshape(4, 8, 8)


def overflowing_model() -> Any:
    pipeline = tiny_models.tiny_stable_diffusion_xl()
    with torch.no_grad():
        for parameter in pipeline.vae.encoder.conv_in.parameters():
            parameter.mul_(SCALE / parameter.abs().max())
    return pipeline


def colours(pipeline: Any) -> torch.Tensor:
    with torch.no_grad():
        preview = PipelineRunner(pipeline, StableDiffusionXL()).preview_map.preview(SAMPLE)
    return torch.frombuffer(bytearray(preview.pixels), dtype=torch.uint8).int()


def test_the_map_of_a_vae_that_overflows_in_float16_is_that_of_float32() -> None:
    pipeline = overflowing_model().to(torch.float16)
    before = {name: tensor.clone() for name, tensor in pipeline.vae.state_dict().items()}
    assert not torch.isfinite(pipeline.vae.encode(torch.ones(1, 3, 64, 64).half()).latent_dist.mode()).all()
    assert (colours(pipeline) - colours(overflowing_model())).abs().max() <= 2
    assert pipeline.vae.dtype == torch.float16
    assert all(torch.equal(tensor, before[name]) for name, tensor in pipeline.vae.state_dict().items())
