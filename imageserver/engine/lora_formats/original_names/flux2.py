"""FLUX.2's layers as black-forest-labs/flux2 names them.

Source: diffusers `loaders/single_file_utils.py` (`convert_flux2_transformer_checkpoint_to_diffusers`).
"""

from collections.abc import Collection, Mapping

from imageserver.engine.lora_formats.original_names import flux
from imageserver.engine.lora_formats.original_names.original import Original

ATTENTIONS = ("img_attn.qkv", "img_attn.proj", "txt_attn.qkv", "txt_attn.proj")
DOUBLE = {name: flux.DOUBLE[name] for name in ATTENTIONS} | {
    "img_mlp.0": ("ff.linear_in",),
    "img_mlp.2": ("ff.linear_out",),
    "txt_mlp.0": ("ff_context.linear_in",),
    "txt_mlp.2": ("ff_context.linear_out",),
}
SINGLE = {"linear1": ("attn.to_qkv_mlp_proj",), "linear2": ("attn.to_out",)}
REST = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_guidance_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_guidance_embed.timestep_embedder.linear_2",
    "guidance_in.in_layer": "time_guidance_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_guidance_embed.guidance_embedder.linear_2",
    "double_stream_modulation_img.lin": "double_stream_modulation_img.linear",
    "double_stream_modulation_txt.lin": "double_stream_modulation_txt.linear",
    "single_stream_modulation.lin": "single_stream_modulation.linear",
    "final_layer.linear": "proj_out",
}


def originals(layers: Collection[str]) -> Mapping[str, Original]:
    """Return the original layers of a transformer with these layers."""
    return flux.by_tables(layers, DOUBLE, SINGLE, REST)
