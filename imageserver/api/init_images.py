"""The picture that a request starts from, whatever dialect it came in: read, sized and named."""

import hashlib
import importlib
import itertools
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from imageserver.api.services import Services
from imageserver.generation import Generation, ModelFacts, Source, layer_size
from imageserver.settings import Settings

# numpy and Pillow take 0.2 s to import: the port answers before that.
INPUTS = "imageserver.imaging.inputs"
# A photograph may be larger than what is drawn of it.
LARGEST_INPUT = 4
SMALLEST_SIDE, LARGEST_SIDE = 64, 4096
USUAL_STRENGTH = 0.6
# Of pictures that are put side by side; wider rows are scaled down to what may be drawn.
HIGHEST_OF_SEVERAL = 1024

Resize = Literal["stretch", "crop", "pad"]


@dataclass(frozen=True, kw_only=True)
class InitImage:
    """The bytes of a picture file and, for inpainting, of its mask.

    `further` pictures are seen beside it: each by itself where the model can, else all in one row. The mask covers the
    first alone.
    In most dialects white in the mask is drawn anew; OpenAI's masks say it by transparency. `names` are the fields
    that errors speak of.
    """

    image: bytes
    further: tuple[bytes, ...] = ()
    mask: bytes | None = None
    transparent_means_edit: bool = False
    resize: Resize = "stretch"
    names: tuple[str, str] = ("image", "mask")


@dataclass(frozen=True)
class ReadImage:
    """A decoded picture and mask, the size that is drawn unless another is asked for, and warnings for the client.

    `further` are the pictures that are seen beside it, in their own sizes.
    """

    picture: Any
    mask: Any
    resize: Resize
    usual_size: tuple[int, int]
    further: tuple[Any, ...] = ()
    warnings: list[str] = field(default_factory=list)

    def fit(self, service: Services, generation: Generation, strength: float | None) -> tuple[Source, bytes]:
        """Return the source of a generation and its pixels, the first picture's in the generation's own size."""
        inputs = importlib.import_module(INPUTS)
        size = (generation.width, generation.height)

        def work() -> tuple[bytes, str]:
            pixels: bytes = inputs.fit_picture(self.picture, *size, self.resize).data
            if self.mask is not None:
                pixels += inputs.fit_mask(self.mask, *size, self.resize).data
            pixels += b"".join(picture.data for picture in self.further)
            # Ten pictures of four megapixels take 0.1 s.
            return pixels, hashlib.sha256(pixels).hexdigest()

        pixels, digest = service.native_pool.run(work)
        masked = self.mask is not None
        usual = 1.0 if masked else USUAL_STRENGTH
        source = Source(
            strength=usual if strength is None else strength,
            digest=digest,
            masked=masked,
            further=tuple((picture.width, picture.height) for picture in self.further),
        )
        return source, pixels


def read(service: Services, given: InitImage, facts: ModelFacts | None = None) -> ReadImage:
    """Decode what a client sent, on a native thread; raises InvalidParameter naming the field and its limit.

    As many pictures as the model of the `facts` sees each by itself stay apart.
    """
    most_pictures = facts.most_pictures if facts else 1
    layered = facts is not None and facts.layers > 0
    return service.native_pool.run(_read, given, service.settings, most_pictures, layered)


def _read(given: InitImage, settings: Settings, most_pictures: int, layered: bool) -> ReadImage:
    inputs = importlib.import_module(INPUTS)
    most = LARGEST_INPUT * settings.max_pixels
    image_name, mask_name = given.names
    files = (given.image, *given.further)
    names = [image_name] if len(files) == 1 else [f"{image_name}[{index}]" for index in range(len(files))]
    # One after the other: only their scaled copies are kept.
    pictures = (inputs.read_picture(data, name=name, max_pixels=most) for data, name in zip(files, names, strict=True))
    picture, first = next(pictures), None
    further: tuple[Any, ...] = ()
    in_a_row = len(files) > most_pictures
    if not in_a_row:
        further = tuple(_bounded(each, settings.max_pixels) for each in pictures)
    else:
        picture, first = inputs.side_by_side(itertools.chain([picture], pictures), HIGHEST_OF_SEVERAL)
    mask = None
    if given.mask is not None:
        mask = inputs.read_mask(
            given.mask, name=mask_name, max_pixels=most, transparent_means_edit=given.transparent_means_edit
        )
        if first is not None:
            mask = inputs.over_the_first(mask, first, picture)
    size = usual_size(picture.width, picture.height, settings.max_pixels)
    if layered:
        size = layer_size(*size)
    warnings = []
    if in_a_row:
        seen = "starts from one picture" if most_pictures == 1 else f"sees up to {most_pictures} pictures by themselves"
        warnings.append(f"The model {seen}: the {len(files)} that were sent were put side by side.")
    if size != (picture.width, picture.height):
        was, becomes = f"{picture.width}x{picture.height}", f"{size[0]}x{size[1]}"
        drawn = f"its layers are {becomes}" if layered else f"without a size asked for, {becomes} is drawn"
        warnings.append(f"{image_name} is {was}; {drawn}.")
    return ReadImage(picture, mask, given.resize, size, further, warnings)


def _bounded(picture: Any, max_pixels: int) -> Any:
    """Return a picture, or one of its shape with as many pixels as may be drawn."""
    size = usual_size(picture.width, picture.height, max_pixels)
    return importlib.import_module(INPUTS).fit_picture(picture, *size, "stretch")


def usual_size(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """Return the size itself, or the nearest of its shape that may be drawn."""
    scale = min(1.0, math.sqrt(max_pixels / (width * height)), LARGEST_SIDE / max(width, height))
    # Sides below the smallest are stretched: a strip of one pixel has no shape that could be drawn.
    return max(SMALLEST_SIDE, int(width * scale)), max(SMALLEST_SIDE, int(height * scale))
