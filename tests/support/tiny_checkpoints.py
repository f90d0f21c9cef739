"""Whole models in one file, with the names that Stable Diffusion's authors gave their weights."""

import re
from collections.abc import Iterable
from typing import Any

import torch

from imageserver.engine.lora_formats import original_names

Tensors = dict[str, torch.Tensor]
# What only weights have, beside the layers that LoRAs can change.
NORMS = {"norm1": "in_layers.0", "norm2": "out_layers.0"}
VAE_PARTS = (
    (r"mid_block\.resnets\.0", "mid.block_1"), (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"), (r"mid_block\.attentions\.0\.to_q", "mid.attn_1.q"),
    (r"mid_block\.attentions\.0\.to_k", "mid.attn_1.k"), (r"mid_block\.attentions\.0\.to_v", "mid.attn_1.v"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"), (r"conv_norm_out", "norm_out"),
    (r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2"),
    (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"), (r"conv_shortcut", "nin_shortcut"),
)  # fmt: skip


def stable_diffusion_checkpoint(pipeline: Any) -> Tensors:
    """Return the tensors of a Stable Diffusion 1.5 as CompVis saved them."""
    text = {name.removeprefix("text_model."): weight for name, weight in pipeline.text_encoder.state_dict().items()}
    return {
        **{f"model.diffusion_model.{name}": weight for name, weight in _unet(pipeline.unet)},
        **{f"first_stage_model.{name}": weight for name, weight in _vae(pipeline.vae)},
        **{f"cond_stage_model.transformer.text_model.{name}": weight for name, weight in text.items()},
        "model_ema.decay": torch.ones(()),
        "alphas_cumprod": torch.ones(1000),
    }


def _unet(unet: torch.nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    weights = unet.state_dict()
    layers = {name.rpartition(".")[0] for name in weights}
    originals = original_names.of("UNet2DConditionModel", layers)
    names = {value.layers[0]: original for original, value in originals.items()} | {"conv_norm_out": "out.0"}
    for name, weight in weights.items():
        layer, _, kind = name.rpartition(".")
        original = names[layer]
        if ".resnets." in layer:
            before, _, last = original.rpartition(".")
            original = f"{before}.{NORMS[last]}" if last in NORMS else original
        yield f"{original}.{kind}", weight


def _vae(vae: torch.nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    last = len(vae.config.block_out_channels) - 1
    for name, weight in vae.state_dict().items():
        original = name
        for pattern, replacement in VAE_PARTS:
            original = re.sub(pattern, replacement, original)
        original = re.sub(
            r"up_blocks\.(\d+)\.(resnets\.(\d+)|upsamplers\.0)",
            lambda match: f"up.{last - int(match[1])}." + (f"block.{match[3]}" if match[3] is not None else "upsample"),
            original,
        )
        is_projection = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", original)
        yield original, weight[:, :, None, None] if is_projection else weight
