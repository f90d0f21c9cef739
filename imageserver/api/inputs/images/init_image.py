"""The image that a request starts from, whatever dialect it came in: read, sized and named."""

import hashlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from imageserver.generation import Generation, ModelInfo, Source, layer_size
from imageserver.settings import Settings

# A photograph may be larger than the image generated from it.
MAX_INPUT_RATIO = 4
MIN_IMAGE_SIDE, MAX_IMAGE_SIDE = 64, 4096
# Of six edits by the demo model, none had the colours of its prompt at 0.6, one at 0.75, and five at 0.85.
DEFAULT_STRENGTH = 0.85
# Without a prompt there is only the image to follow.
VARIATION_STRENGTH = 0.6
# Of images that are put side by side; wider rows are scaled down to what may be generated.
MAX_ROW_HEIGHT = 1024

Resize = Literal["stretch", "crop", "pad"]


@dataclass(frozen=True, kw_only=True)
class InitImage:
    """The bytes of an image file and, for inpainting, of its mask.

    `further` images are seen beside it: each by itself where the model can, else all in one row. The mask covers the
    first alone. In most dialects white in the mask is regenerated; OpenAI's masks use transparency instead, and without
    one the transparency of the image. `shape_mask` returns another file for the mask's and the limit of its pixels.
    `resize` fits an image of another shape; without one it is cropped. `names` are the fields that errors name.
    """

    image: bytes
    further: tuple[bytes, ...] = ()
    mask: bytes | None = None
    transparent_means_edit: bool = False
    shape_mask: Callable[[bytes, int], bytes] | None = None
    resize: Resize | None = None
    names: tuple[str, str] = ("image", "mask")

    @property
    def image_names(self) -> list[str]:
        """The names of the images in error messages."""
        name, count = self.names[0], 1 + len(self.further)
        return [name] if count == 1 else [f"{name}[{index}]" for index in range(count)]

    def files(self) -> dict[str, bytes]:
        """Return every file by its name in error messages."""
        files = dict(zip(self.image_names, (self.image, *self.further), strict=True))
        return files if self.mask is None else files | {self.names[1]: self.mask}


@dataclass(frozen=True)
class ReadImage:
    """A decoded image and mask, the size that is generated unless another is asked for, and warnings for the client.

    `further` are the images that are seen beside it, in their own sizes.
    """

    image: Any
    mask: Any
    resize: Resize | None
    default_size: tuple[int, int]
    further: tuple[Any, ...] = ()
    warnings: list[str] = field(default_factory=list)

    def fit(self, generation: Generation, strength: float | None) -> tuple[Source, bytes]:
        """Return the source of a generation and its pixels, the first image's in the generation's own size.

        For a thread of the pool: ten images of four megapixels take 0.1 s.
        """
        from imageserver.imaging.fitting import fit_image, fit_mask

        size = (generation.width, generation.height)
        # Its own size differs from its shape by what was rounded only.
        mode = self.resize or ("stretch" if size == self.default_size else "crop")
        pixels = fit_image(self.image, *size, mode).data
        if self.mask is not None:
            pixels += fit_mask(self.mask, *size, mode).data
        pixels += b"".join(image.data for image in self.further)
        masked = self.mask is not None
        if strength is None:
            unmasked = DEFAULT_STRENGTH if generation.prompt.strip() else VARIATION_STRENGTH
            strength = 1.0 if masked else unmasked
        source = Source(
            strength=strength,
            digest=hashlib.sha256(pixels).hexdigest(),
            masked=masked,
            further=tuple((image.width, image.height) for image in self.further),
        )
        return source, pixels


def memory_needed(given: InitImage, settings: Settings, info: ModelInfo | None = None) -> int:
    """Return about how many bytes `read` takes at its peak, from the headers of the files.

    Raises InvalidParameter naming the field and its limit.
    """
    from imageserver.imaging import decoding, fitting

    max_pixels = MAX_INPUT_RATIO * settings.max_pixels
    sizes = [decoding.read_size(data, name=name, max_pixels=max_pixels) for name, data in given.files().items()]
    pixels = [width * height for width, height in sizes]
    # One after the other is decoded, while the first one is kept, and scaled copies of the others or all in one row.
    needed = decoding.BYTES_PER_PIXEL * max(pixels) + decoding.BYTES_KEPT * pixels[0]
    if len(given.further) < _max_images(info):
        return needed + decoding.BYTES_KEPT * sum(min(each, settings.max_pixels) for each in pixels[1:])
    row_height = min(MAX_ROW_HEIGHT, sizes[0][1])
    row = min(fitting.MAX_ROW_PIXELS, sum(round(width / height * row_height**2) for width, height in sizes))
    return needed + decoding.BYTES_PER_PIXEL * row


def read(given: InitImage, settings: Settings, info: ModelInfo | None = None) -> ReadImage:
    """Decode what a client sent; raises InvalidParameter naming the field and its limit.

    As many images as the model sees each by itself stay apart. For a thread of the pool, within the memory that
    `memory_needed` returns.
    """
    from imageserver.imaging import decoding, fitting

    layered = info is not None and info.layers > 0
    max_images, max_pixels = _max_images(info), MAX_INPUT_RATIO * settings.max_pixels
    image_name, names = given.names[0], given.image_names
    image, mask = _read_first(given, info, max_pixels)
    # One after the other: only their scaled copies are kept.
    others = (
        decoding.read_image(data, name=name, max_pixels=max_pixels)
        for data, name in zip(given.further, names[1:], strict=True)
    )
    further: tuple[Any, ...] = ()
    warnings, first = [], None
    if mask is not None:
        warnings.append(f"{names[0]} is partly transparent and has no mask: that part is regenerated.")
    if len(names) > max_images:
        image, first = fitting.side_by_side(itertools.chain([image], others), MAX_ROW_HEIGHT, name=image_name)
        seen = "starts from one image" if max_images == 1 else f"sees up to {max_images} images by themselves"
        warnings.append(f"The model {seen}: the {len(names)} that were sent were put side by side.")
    else:
        further = tuple(
            fitting.fit_image(each, *default_size(each.width, each.height, settings.max_pixels), "stretch")
            for each in others
        )
    mask = _read_mask(given, max_pixels) if given.mask is not None else mask
    if mask is not None and not (first is None and _are_of_one_shape(mask, image)):
        mask = fitting.over_the_first(mask, first or image.width, image)
    size = default_size(image.width, image.height, settings.max_pixels)
    if layered:
        size = layer_size(*size)
    if size != (image.width, image.height):
        was, becomes = f"{image.width}x{image.height}", f"{size[0]}x{size[1]}"
        generated = f"its layers are {becomes}" if layered else f"without a size asked for, {becomes} is generated"
        warnings.append(f"{image_name} is {was}; {generated}.")
    return ReadImage(image, mask, given.resize, size, further, warnings)


def _read_first(given: InitImage, info: ModelInfo | None, max_pixels: int) -> tuple[Any, Any]:
    """Return the first image, and its transparent part where that is the mask; a model that edits sees all of it."""
    from imageserver.imaging import decoding

    name, inpaints = given.image_names[0], info is None or "inpaint" in info.kinds
    if given.mask is None and given.transparent_means_edit and inpaints:
        return decoding.read_image_and_holes(given.image, name=name, max_pixels=max_pixels)
    return decoding.read_image(given.image, name=name, max_pixels=max_pixels), None


def _read_mask(given: InitImage, max_pixels: int) -> Any:
    from imageserver.imaging import decoding

    assert given.mask is not None
    data = given.mask if given.shape_mask is None else given.shape_mask(given.mask, max_pixels)
    return decoding.read_mask(
        data, name=given.names[1], max_pixels=max_pixels, transparent_means_edit=given.transparent_means_edit
    )


def _are_of_one_shape(mask: Any, image: Any) -> bool:
    return bool(mask.width * image.height == mask.height * image.width)


def _max_images(info: ModelInfo | None) -> int:
    return info.max_images if info else 1


def default_size(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """Return the size itself, or the nearest of its shape that may be generated."""
    scale = min(1.0, math.sqrt(max_pixels / (width * height)), MAX_IMAGE_SIDE / max(width, height))
    # Sides below the smallest are stretched: a strip of one pixel has no shape that could be generated.
    return max(MIN_IMAGE_SIDE, int(width * scale)), max(MIN_IMAGE_SIDE, int(height * scale))
