"""The images that guide a generation through ControlNets: as they are, their edges, or their negatives."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from imageserver.api.inputs.controls import ControlOptions, number_of
from imageserver.api.inputs.generate_request import GenerateBody
from imageserver.api.inputs.images import init_image
from imageserver.api.inputs.images.init_image import InitImage, ReadImage
from imageserver.errors import InvalidParameter
from imageserver.generation import Control, Generation
from imageserver.settings import Settings

# The fields of the body that describe its `control_image`, by the names of its options.
CONTROL_FIELDS = {
    "scale": "controlnet_conditioning_scale",
    "start": "control_guidance_start",
    "end": "control_guidance_end",
    "preprocessor": "control_preprocessor",
}
# What finding edges takes at its peak; 74 were measured for noise, which has the most.
EDGE_BYTES_PER_PIXEL = 80


@dataclass(frozen=True, kw_only=True)
class ControlImage:
    """The bytes of an image file; `name` is the field that errors mention.

    Without `options` those fields of the body count that describe its `control_image`.
    """

    image: bytes
    name: str = "control_image"
    options: ControlOptions | None = None

    def options_in(self, body: GenerateBody) -> ControlOptions:
        """Return how it guides."""
        if self.options is not None:
            return self.options
        return ControlOptions(**{name: getattr(body, field) for name, field in CONTROL_FIELDS.items()})


def as_init_image(control: ControlImage) -> InitImage:
    """Return the image as one that is read like any other."""
    return InitImage(image=control.image, names=(control.name, ""))


def guide(
    control: ControlImage, body: GenerateBody, generation: Generation, read: ReadImage, settings: Settings
) -> tuple[Generation, bytes]:
    """Return the generation with one guide more, and the guide's pixels in the generation's own size."""
    options = control.options_in(body)
    if options.start >= options.end:
        start, end = ("start", "end") if control.options else (CONTROL_FIELDS["start"], CONTROL_FIELDS["end"])
        raise InvalidParameter(
            f"{start} is {options.start:g}; it must be less than {end}, {options.end:g}.",
            param=control.name if control.options else start,
        )
    _, pixels = read.fit(generation, 1.0)
    if options.preprocessor != "none":
        from imageserver.imaging.control.preprocessors import preprocessed

        pixels = preprocessed(options.preprocessor, generation.width, generation.height, pixels)
    made = Control(
        digest=hashlib.sha256(pixels).hexdigest(),
        scale=options.scale,
        start=options.start,
        end=options.end,
        net=number_of(options.model, settings),
    )
    return replace(generation, controls=(*generation.controls, made)), pixels


def memory_needed(controls: Sequence[ControlImage], body: GenerateBody, settings: Settings) -> int:
    """Return about how many bytes `read` and `guide` take at their peak; raises InvalidParameter."""
    needed = sum(init_image.memory_needed(as_init_image(control), settings) for control in controls)
    # They are preprocessed one after the other.
    finds_edges = any(control.options_in(body).preprocessor == "canny" for control in controls)
    return needed + (EDGE_BYTES_PER_PIXEL * settings.max_pixels if finds_edges else 0)


def unused(body: GenerateBody, controls: Sequence[ControlImage]) -> list[str]:
    """Return warnings for the fields that describe a control image that was not sent."""
    if any(control.options is None for control in controls):
        return []
    return [
        f"{name} is ignored without control_image." for name in CONTROL_FIELDS.values() if name in body.model_fields_set
    ]
