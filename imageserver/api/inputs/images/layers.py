"""The rules of layered models: the model chooses the size of the layers, and they are transparent."""

from dataclasses import replace

from imageserver.api.inputs.generate_request import GenerateBody
from imageserver.api.inputs.images.init_image import ReadImage
from imageserver.errors import InvalidParameter
from imageserver.generation import Generation
from imageserver.registry import MAX_SIDE

SIZE_FIELDS = {"size", "width", "height", "aspect_ratio"}


def sized(generation: Generation, read: ReadImage) -> Generation:
    """Return the generation in the size that the image's shape decides, whatever was asked for.

    Raises InvalidParameter for an image whose layers would be empty or too long.
    """
    width, height = read.default_size
    if min(width, height) == 0 or max(width, height) > MAX_SIDE:
        raise InvalidParameter(
            f"image is too long and narrow: its layers would be {width}x{height}, and no side may be 0 or more than "
            f"{MAX_SIDE} pixels.",
            param="image",
        )
    return replace(generation, width=width, height=height)


def without_effect(body: GenerateBody) -> list[str]:
    """Return warnings for fields that have no effect on layers."""
    warnings = []
    if body.model_fields_set & SIZE_FIELDS:
        warnings.append("The size has no effect: the image's shape decides the size of the layers.")
    if body.add_overlay and "add_overlay" in body.model_fields_set:
        warnings.append("add_overlay is ignored for layers.")
    if body.output_format == "jpeg":
        warnings.append("jpeg has no transparency: the layers are laid on white; png and webp keep it.")
    return warnings
