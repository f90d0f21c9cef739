"""Build the tiny networks with the true diffusers and transformers classes."""

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from torch import nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from tools.demo.codes import WIDTH

Model = Any  # torch modules of diffusers and transformers, whose classes have no types
CHANNELS = 12  # latent channels: 2 x 2 RGB means of a 32 x 32 pixel cell
HEAD = 32


def make_transformer(layers: int = 7, heads: int = 5) -> Model:
    """Build a transformer whose every block starts as the identity."""
    model: Model = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=4 * CHANNELS,
        out_channels=CHANNELS,
        num_layers=layers,
        attention_head_dim=HEAD,
        num_attention_heads=heads,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(8, 12, 12),
    )
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    module.bias.zero_()
        for block in model.transformer_blocks:
            for modulation in (block.img_mod[1], block.txt_mod[1]):
                modulation.weight.zero_()
                modulation.bias.zero_()
        for module in (model.norm_out.linear, model.proj_out):
            module.weight.zero_()
            module.bias.zero_()
    return model


def make_scheduler() -> Any:
    """Build the flow-matching scheduler; larger images spend more of their steps at high noise."""
    return FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=1000,
        shift=1.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.2,
        base_image_seq_len=64,
        max_image_seq_len=441,
        time_shift_type="exponential",
    )


def make_text_encoder(tokenizer: Qwen2Tokenizer, layers: int = 3, inner: int = 384) -> Model:
    """Build the text encoder: a true Qwen2.5-VL with a vision tower that is only a stub."""
    ids = tokenizer.get_vocab()
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": (len(ids) + 63) // 64 * 64,
            "hidden_size": WIDTH,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": WIDTH // HEAD,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "fullatt_block_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    with torch.no_grad():
        model.model.language_model.embed_tokens.weight.normal_(0, 0.5)
    return model
