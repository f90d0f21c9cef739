"""FLUX.1's layers as black-forest-labs/flux names them.

Source: that repository's `src/flux/model.py`, and diffusers `scripts/convert_flux_to_diffusers.py`.
"""

import re
from collections.abc import Collection, Mapping

from imageserver.engine.lora_formats.original_names.original import Original

DOUBLE = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
}
SINGLE = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation.lin": ("norm.linear",),
}
REST = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
BLOCK = re.compile(r"(?P<single>single_)?transformer_blocks\.(?P<number>\d+)\.")

Table = Mapping[str, tuple[str, ...]]


def originals(layers: Collection[str]) -> Mapping[str, Original]:
    """Return the original layers of a transformer with these layers."""
    return by_tables(layers, DOUBLE, SINGLE, REST)


def by_tables(layers: Collection[str], double: Table, single: Table, rest: Mapping[str, str]) -> dict[str, Original]:
    """Return the original layers by the tables of both kinds of blocks and of the rest."""
    found = {original: Original((name,)) for original, name in rest.items() if name in layers}
    if "norm_out.linear" in layers:
        found["final_layer.adaLN_modulation.1"] = Original(("norm_out.linear",), swapped=True)
    for block in {match[0]: match for name in layers if (match := BLOCK.match(name))}.values():
        kind, table = ("single_blocks", single) if block["single"] else ("double_blocks", double)
        for original, names in table.items():
            parts = tuple(block[0] + name for name in names)
            if all(part in layers for part in parts):
                found[f"{kind}.{block['number']}.{original}"] = Original(parts)
    return found
