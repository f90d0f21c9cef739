"""The image that guides a generation through the ControlNet: as it is, its edges, or its negative."""

import hashlib
from dataclasses import dataclass, replace

from imageserver.api.inputs.generate_request import GenerateBody
from imageserver.api.inputs.images import init_image
from imageserver.api.inputs.images.init_image import InitImage, ReadImage
from imageserver.errors import InvalidParameter
from imageserver.generation import Control, Generation
from imageserver.settings import Settings

CONTROL_FIELDS = ("controlnet_conditioning_scale", "control_guidance_start", "control_guidance_end")
# What finding edges takes at its peak; 74 were measured for noise, which has the most.
EDGE_BYTES_PER_PIXEL = 80


@dataclass(frozen=True, kw_only=True)
class ControlImage:
    """The bytes of an image file; `name` is the field that errors mention."""

    image: bytes
    name: str = "control_image"


def as_init_image(control: ControlImage) -> InitImage:
    """Return the image as one that is read like any other."""
    return InitImage(image=control.image, names=(control.name, ""))


def guide(body: GenerateBody, generation: Generation, read: ReadImage) -> tuple[Generation, bytes]:
    """Return the generation with its guide, and the guide's pixels in the generation's own size."""
    scale, start, end = (getattr(body, name) for name in CONTROL_FIELDS)
    if start >= end:
        raise InvalidParameter(
            f"control_guidance_start is {start:g}; it must be less than control_guidance_end, {end:g}.",
            param="control_guidance_start",
        )
    _, pixels = read.fit(generation, 1.0)
    if body.control_preprocessor != "none":
        from imageserver.imaging.control.preprocessors import preprocessed

        pixels = preprocessed(body.control_preprocessor, generation.width, generation.height, pixels)
    digest = hashlib.sha256(pixels).hexdigest()
    return replace(generation, control=Control(digest=digest, scale=scale, start=start, end=end)), pixels


def memory_needed(control: ControlImage, body: GenerateBody, settings: Settings) -> int:
    """Return about how many bytes `read` and `guide` take at their peak; raises InvalidParameter."""
    needed = init_image.memory_needed(as_init_image(control), settings)
    return needed + (EDGE_BYTES_PER_PIXEL * settings.max_pixels if body.control_preprocessor == "canny" else 0)


def unused(body: GenerateBody) -> list[str]:
    """Return warnings for ControlNet fields in a body without a control image."""
    names = (*CONTROL_FIELDS, "control_preprocessor")
    return [f"{name} is ignored without control_image." for name in names if name in body.model_fields_set]
