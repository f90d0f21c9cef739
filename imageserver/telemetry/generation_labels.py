"""The labels of a generation in the metrics: few values, whatever clients send."""

from imageserver.generation import Generation
from imageserver.telemetry.instruments import OTHER

# The sides of squares that hold an image's pixels.
SIDES = (512, 768, 1024, 1536, 2048)
LARGER = "larger"


def labels_of(generation: Generation, model: str) -> tuple[str, str, str]:
    """Return the name of the model, the kind and the size class; `model` is empty where it is not known."""
    return model or OTHER, _kind_of(generation), _size_of(generation)


def _kind_of(generation: Generation) -> str:
    if generation.caption:
        return "caption"
    if generation.upscale is not None and generation.upscale.only:
        return "upscale"
    if generation.source is None:
        return "text"
    return "inpaint" if generation.source.masked else "image"


def _size_of(generation: Generation) -> str:
    width, height = generation.answer_size
    return next((str(side) for side in SIDES if width * height <= side * side), LARGER)
