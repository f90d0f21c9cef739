"""Whose weights or LoRA layers some names are, for the sentence about a file of another model."""

import re
from collections.abc import Iterable

# The first that a name matches counts; names have dots or, as in kohya's files, underscores.
OWNERS = tuple(
    (re.compile(pattern), owner)
    for pattern, owner in (
        (r"double_blocks[._]\d+[._]img_attn|single_transformer_blocks[._]\d|single_blocks[._]\d", "FLUX"),
        (r"double_stream_blocks[._]\d", "HiDream-I1"),
        (r"transformer_blocks[._]\d+[._](img|txt)_(mlp|mod)", "Qwen-Image"),
        (r"joint_blocks[._]\d|transformer_blocks[._]\d+[._]attn2[._]add", "Stable Diffusion 3"),
        (r"(noise|context)_refiner[._]\d|layers[._]\d+[._](adaLN_modulation|attention[._](qkv|to_|out))", "Z-Image"),
        (r"blocks[._]\d+[._](self_attn|cross_attn)[._][qkvo]\b|blocks_\d+_(self|cross)_attn_[qkvo]", "Wan"),
        (r"(conditioner\.embedders\.1|text_encoder_2|lora_te2_).*|label_emb|add_embedding", "Stable Diffusion XL"),
        (r"(input|output|middle|down|up|mid)_blocks?[._]\d+.*(transformer_blocks|attentions)[._]", "Stable Diffusion"),
        (r"cond_stage_model\.|lora_te_text_model", "Stable Diffusion 1.5"),
        (r"(input|output)_blocks[._]\d|(down|up|mid)_blocks?[._]\d", "Stable Diffusion"),
    )
)


def owner_of(names: Iterable[str]) -> str | None:
    """Return the model family that most of the names belong to; None where no name is known."""
    counts: dict[str, int] = {}
    for name in names:
        owner = next((owner for pattern, owner in OWNERS if pattern.search(name)), None)
        if owner:
            counts[owner] = counts.get(owner, 0) + 1
    return max(counts, key=lambda owner: counts[owner]) if counts else None
