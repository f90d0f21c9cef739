"""A model folder of FLUX.2-klein with the true classes and layout and random weights."""

import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline, Flux2Transformer2DModel
from transformers import Qwen3Config, Qwen3ForCausalLM

from tests.support.tiny_models import CHAT_TEMPLATE, byte_tokenizer, quiet

HIDDEN = 16
LATENT_CHANNELS = 4
# The pipeline reads the text after the 9th, the 18th and the 27th.
ENCODER_LAYERS = 28


def tiny_flux2_klein(*, distilled: bool = True) -> Flux2KleinPipeline:
    """Return the pipeline of a model of 4 steps, or, not `distilled`, of a base model."""
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    text_encoder = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=HIDDEN, intermediate_size=HIDDEN, num_hidden_layers=ENCODER_LAYERS,
            num_attention_heads=2, num_key_value_heads=1, head_dim=8, max_position_embeddings=2048,
        )
    )  # fmt: skip
    transformer = Flux2Transformer2DModel(
        in_channels=4 * LATENT_CHANNELS, num_layers=1, num_single_layers=2, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=3 * HIDDEN, timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    parts = (scheduler, tiny_flux2_vae(), text_encoder, tokenizer, transformer)
    pipeline: Flux2KleinPipeline = quiet(Flux2KleinPipeline(*parts, is_distilled=distilled))
    return pipeline


def tiny_flux2_vae() -> AutoencoderKLFlux2:
    """Return a VAE that normalises its latents, as a trained one does."""
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, latent_channels=LATENT_CHANNELS,
        norm_num_groups=4,
    )  # fmt: skip
    vae.bn.running_mean.uniform_(-0.5, 0.5)
    vae.bn.running_var.uniform_(0.5, 2.0)
    return vae
