"""A model folder of Qwen-Image-Layered with the true classes and layout and random weights."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImageLayeredPipeline,
    QwenImageTransformer2DModel,
)
from transformers import Qwen2VLImageProcessorPil

from imageserver.engine.pipelines.image_processor import ImageProcessor
from tests.support.tiny_models import HIDDEN, byte_tokenizer, quiet, qwen_text_encoder, save_as_published


def tiny_qwen_image_layered() -> QwenImageLayeredPipeline:
    """Return the pipeline; 32 pixels a token, as it generates every layer at 640 x 640.

    It takes an image with as many channels as the VAE has in latents for latents, so there are not four.
    """
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    vae = AutoencoderKLQwenImage(
        base_dim=2, z_dim=8, dim_mult=[1] * 5, num_res_blocks=0, temperal_downsample=[False] * 3 + [True],
        latents_mean=[0.0] * 8, latents_std=[1.0] * 8, input_channels=4,
    )  # fmt: skip
    transformer = QwenImageTransformer2DModel(
        patch_size=2, in_channels=32, out_channels=8, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=HIDDEN, axes_dims_rope=(4, 6, 6), use_additional_t_cond=True, use_layer3d_rope=True,
    )  # fmt: skip
    pipeline: QwenImageLayeredPipeline = quiet(
        QwenImageLayeredPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae=vae,
            text_encoder=qwen_text_encoder(tokenizer), tokenizer=tokenizer,
            processor=ImageProcessor(Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=112 * 112), tokenizer),
            transformer=transformer,
        )
    )  # fmt: skip
    return pipeline


def save_tiny_qwen_image_layered(folder: Path) -> None:
    save_as_published(tiny_qwen_image_layered(), folder)
