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

OPEN_CLIP_PARTS = (
    (r"^encoder\.layers\.", "transformer.resblocks."), (r"layer_norm(\d)", r"ln_\1"), (r"\.fc1\.", ".c_fc."),
    (r"\.fc2\.", ".c_proj."), (r"\.self_attn\.", ".attn."), (r"^final_layer_norm\.", "ln_final."),
    (r"^embeddings\.token_embedding\.", "token_embedding."),
    (r"^embeddings\.position_embedding\.weight", "positional_embedding"),
)  # fmt: skip


def stable_diffusion_checkpoint(pipeline: Any) -> Tensors:
    """Return the tensors of a Stable Diffusion 1.5 as CompVis saved them."""
    return {
        **{f"model.diffusion_model.{name}": weight for name, weight in _unet(pipeline.unet)},
        **{f"first_stage_model.{name}": weight for name, weight in _vae(pipeline.vae)},
        **{
            f"cond_stage_model.transformer.text_model.{name}": weight
            for name, weight in _text(pipeline.text_encoder).items()
        },
        "model_ema.decay": torch.ones(()),
        "alphas_cumprod": torch.ones(1000),
    }


def stable_diffusion_xl_checkpoint(pipeline: Any) -> Tensors:
    """Return the tensors of a Stable Diffusion XL as Stability AI saved them: its second text encoder is OpenCLIP's."""
    return {
        **{f"model.diffusion_model.{name}": weight for name, weight in _unet(pipeline.unet)},
        **{f"first_stage_model.{name}": weight for name, weight in _vae(pipeline.vae)},
        **{
            f"conditioner.embedders.0.transformer.text_model.{name}": weight
            for name, weight in _text(pipeline.text_encoder).items()
        },
        **{f"conditioner.embedders.1.model.{name}": weight for name, weight in _open_clip(pipeline.text_encoder_2)},
    }


def _text(encoder: torch.nn.Module) -> Tensors:
    return {name.removeprefix("text_model."): weight for name, weight in encoder.state_dict().items()}


def _open_clip(encoder: torch.nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    weights = _text(encoder)
    yield "text_projection", weights.pop("text_projection.weight").T
    for name, weight in weights.items():
        original = name
        for pattern, replacement in OPEN_CLIP_PARTS:
            original = re.sub(pattern, replacement, original)
        if ".q_proj." in name:
            joined = [weights[name.replace(".q_proj.", f".{each}_proj.")] for each in "qkv"]
            yield original.replace(".q_proj.", ".in_proj_"), torch.cat(joined)
        elif not re.search(r"\.[kv]_proj\.", name):
            yield original, weight


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
