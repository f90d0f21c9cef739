"""A model folder of ERNIE-Image with the true classes and layout and random weights, without its prompt enhancer."""

import torch
from diffusers import ErnieImagePipeline, ErnieImageTransformer2DModel, FlowMatchEulerDiscreteScheduler
from transformers import Ministral3Config, Mistral3Config, Mistral3Model, PixtralVisionConfig

from tests.support.tiny_flux2_klein import LATENT_CHANNELS, tiny_flux2_vae
from tests.support.tiny_models import letter_tokenizer, quiet

HIDDEN = 16
MAX_TOKENS = 512


def tiny_ernie_image() -> ErnieImagePipeline:
    """Return the pipeline; Turbo has the same parts and the same noise scheduler."""
    torch.manual_seed(0)
    tokenizer = letter_tokenizer("<s> $A", ["<pad>", "<s>"])
    tokenizer.model_max_length = MAX_TOKENS
    text_encoder = Mistral3Model(
        Mistral3Config(
            text_config=Ministral3Config(
                vocab_size=len(tokenizer), hidden_size=HIDDEN, intermediate_size=HIDDEN, num_hidden_layers=2,
                num_attention_heads=2, num_key_value_heads=1, head_dim=8, pad_token_id=0, bos_token_id=1,
                eos_token_id=0,
            ),
            vision_config=PixtralVisionConfig(
                hidden_size=HIDDEN, intermediate_size=HIDDEN, num_hidden_layers=1, num_attention_heads=2, head_dim=8,
                image_size=28,
            ),
        )
    )  # fmt: skip
    transformer = ErnieImageTransformer2DModel(
        hidden_size=32, num_attention_heads=2, num_layers=2, ffn_hidden_size=32, in_channels=4 * LATENT_CHANNELS,
        out_channels=4 * LATENT_CHANNELS, text_in_dim=HIDDEN, rope_axes_dim=(4, 6, 6),
    )  # fmt: skip
    # An untrained one predicts zeros.
    for layer in (transformer.adaLN_modulation[-1], transformer.final_linear):
        layer.reset_parameters()
    scheduler = FlowMatchEulerDiscreteScheduler(shift=4.0)
    pipeline: ErnieImagePipeline = quiet(
        ErnieImagePipeline(transformer, tiny_flux2_vae(), text_encoder, tokenizer, scheduler)
    )
    return pipeline
