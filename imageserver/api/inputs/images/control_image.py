"""The image that guides a generation through the ControlNet, used as it is: no edges or poses are detected."""

from dataclasses import dataclass, replace

from imageserver.api.inputs.generate_request import GenerateBody
from imageserver.api.inputs.images.init_image import InitImage, ReadImage
from imageserver.errors import InvalidParameter
from imageserver.generation import Control, Generation

CONTROL_FIELDS = ("controlnet_conditioning_scale", "control_guidance_start", "control_guidance_end")


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
    fitted, pixels = read.fit(generation, 1.0)
    return replace(generation, control=Control(digest=fitted.digest, scale=scale, start=start, end=end)), pixels


def unused(body: GenerateBody) -> list[str]:
    """Return warnings for ControlNet fields in a body without a control image."""
    return [f"{name} is ignored without control_image." for name in CONTROL_FIELDS if name in body.model_fields_set]
