"""Z-Image's layers as its authors name them: the three of an attention are one, and some have other names.

Source: diffusers `loaders/single_file_utils.py` (`convert_z_image_transformer_checkpoint_to_diffusers`).
"""

from collections.abc import Collection, Mapping

from imageserver.engine.lora_formats.original_names.original import Original

TO_Q, TO_OUT = ".to_q", ".to_out.0"
# diffusers keeps one of each for every patch size; there is one size.
BY_PATCH_SIZE = {"all_x_embedder.2-1": "x_embedder", "all_final_layer.2-1": "final_layer"}


def originals(layers: Collection[str]) -> Mapping[str, Original]:
    """Return the original layers of a transformer with these layers."""
    found = {}
    for name in layers:
        if name.endswith(TO_Q):
            attention = name.removesuffix(TO_Q)
            found[f"{attention}.qkv"] = Original(tuple(f"{attention}.{each}" for each in ("to_q", "to_k", "to_v")))
        elif name.endswith(TO_OUT):
            found[f"{name.removesuffix(TO_OUT)}.out"] = Original((name,))
        for diffusers_name, original in BY_PATCH_SIZE.items():
            if name.startswith(diffusers_name):
                found[original + name.removeprefix(diffusers_name)] = Original((name,))
    return found
