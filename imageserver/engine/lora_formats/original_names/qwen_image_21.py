"""Qwen-Image-2.1's layers in ComfyUI's files, which join the two of a gated layer.

Source: diffusers `loaders/single_file_utils.py` (`convert_qwen_image21_transformer_checkpoint_to_diffusers`).
"""

from collections.abc import Collection, Mapping

from imageserver.engine.lora_formats.original_names.original import Original

GATE, UP = ".img_mlp.gate_layer", ".img_mlp.proj"


def originals(layers: Collection[str]) -> Mapping[str, Original]:
    """Return the joined layers of a transformer with these layers."""
    blocks = [name.removesuffix(GATE) for name in layers if name.endswith(GATE)]
    return {f"{block}.img_mlp.gate_up": Original((block + GATE, block + UP)) for block in blocks}
