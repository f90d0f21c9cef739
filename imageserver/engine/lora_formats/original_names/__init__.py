"""The names that a model's authors gave its layers, where diffusers renamed, split or joined them."""

from collections.abc import Collection, Mapping

from imageserver.engine.lora_formats.original_names import flux, flux2, qwen_image_21, unet, z_image
from imageserver.engine.lora_formats.original_names.original import Original

BY_CLASS = {
    "Flux2Transformer2DModel": flux2.originals,
    "FluxTransformer2DModel": flux.originals,
    "QwenImage21Transformer2DModel": qwen_image_21.originals,
    "UNet2DConditionModel": unet.originals,
    "ZImageTransformer2DModel": z_image.originals,
}


def of(model_class: str, layers: Collection[str]) -> Mapping[str, Original]:
    """Return the original names of a model's layers; none for a class whose layers kept them."""
    originals = BY_CLASS.get(model_class)
    return originals(layers) if originals else {}
