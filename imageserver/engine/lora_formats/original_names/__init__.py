"""The names that a model's authors gave its layers, where diffusers renamed, split or joined them."""

from collections.abc import Collection, Mapping

from imageserver.engine.lora_formats.original_names import flux, unet, z_image
from imageserver.engine.lora_formats.original_names.original import Original

BY_CLASS = {
    "FluxTransformer2DModel": flux.originals,
    "UNet2DConditionModel": unet.originals,
    "ZImageTransformer2DModel": z_image.originals,
}


def of(model_class: str, layers: Collection[str]) -> Mapping[str, Original]:
    """Return the original names of a model's layers; none for a class whose layers kept them."""
    originals = BY_CLASS.get(model_class)
    return originals(layers) if originals else {}
