"""A model folder of Qwen-Image 2.1 with the true classes and layout and random weights."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLQwenImage21,
    FlowMatchEulerDiscreteScheduler,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
)
from transformers import Qwen2VLImageProcessorPil, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from imageserver.engine.pipelines.image_processor import ImageProcessor3
from tests.support.tiny_models import byte_tokenizer, quiet, save_as_published

HIDDEN = 16
CHANNELS = 8
# In this template alone a message is a list of parts.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}{{ part.text }}{% endfor %}<|im_end|>\n{% endfor %}"
)


def tiny_qwen_image_21(*, sample_sigmas: list[float] | None = None) -> QwenImage21Pipeline:
    """Return the pipeline; every image that it sees has the true one's 4096 tokens."""
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    ids = tokenizer.get_vocab()
    text_encoder = Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(
            text_config={
                "vocab_size": len(ids), "hidden_size": HIDDEN, "intermediate_size": 16, "num_hidden_layers": 2,
                "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 8192,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]},
                "bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"],
                "pad_token_id": ids["<|endoftext|>"],
            },
            vision_config={
                "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": HIDDEN,
                "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 64,
                "deepstack_visual_indexes": [0],
            },
            image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
            vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        )
    )  # fmt: skip
    vae = AutoencoderKLQwenImage21(
        base_dim=4, decoder_base_dim=4, z_dim=CHANNELS, dim_mult=[1] * 5, num_res_blocks=1, attn_scales=[],
        temperal_downsample=[False, True, True, True], latents_mean=[0.0] * CHANNELS, latents_std=[1.0] * CHANNELS,
    )  # fmt: skip
    transformer = QwenImage21Transformer2DModel(
        patch_size=1, in_channels=CHANNELS, out_channels=CHANNELS, num_layers=2, attention_head_dim=16,
        num_attention_heads=2, context_in_dim=HIDDEN, mlp_ratio=2, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    images = Qwen2VLImageProcessorPil(
        patch_size=16, merge_size=2, temporal_patch_size=2, min_pixels=32 * 32, max_pixels=2048 * 2048
    )
    processor = ImageProcessor3(images, tokenizer, chat_template=CHAT_TEMPLATE)
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipeline = QwenImage21Pipeline(scheduler, vae, text_encoder, processor, transformer, sample_sigmas=sample_sigmas)
    quiet(pipeline)
    return pipeline


def save_tiny_qwen_image_21(folder: Path) -> None:
    save_as_published(tiny_qwen_image_21(), folder, "Qwen3VLProcessor")
