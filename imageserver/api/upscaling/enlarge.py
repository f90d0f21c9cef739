"""Enlarge an image that a client sent with Lanczos, on a thread of the pool; no model takes part."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from flask import request

from imageserver.api.inputs.images.init_image import MAX_INPUT_RATIO
from imageserver.api.services import Services
from imageserver.errors import InvalidParameter
from imageserver.generation import OutputFormat

# Of an image file as it may be sent and as it may be returned.
MAX_SIDE = 16_000

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Enlargement:
    """What an image becomes: `size_of` returns the new size of one, `crop` cuts off what does not fit into it.

    `size_name` is the field that errors about the size name.
    """

    size_of: Callable[[Size], Size]
    crop: bool = False
    size_name: str


def enlarge(
    service: Services, data: bytes, wanted: Enlargement, *, name: str, output_format: OutputFormat = "png"
) -> bytes:
    """Return the image file in its new size; raises InvalidParameter naming the field and its limit."""
    max_pixels = MAX_INPUT_RATIO * service.settings.max_pixels

    def measure() -> int:
        from imageserver.imaging import decoding

        given = decoding.read_size(data, name=name, max_pixels=max_pixels)
        # Only decoding shows whether EXIF turns the image on its side; then its height is its width.
        sizes = [wanted.size_of(given), wanted.size_of(given[::-1])]
        check_size(min(sizes, key=math.prod), service, wanted.size_name)
        largest = min(max_pixels, max(map(math.prod, sizes)))
        return decoding.BYTES_PER_PIXEL * math.prod(given) + 3 * decoding.BYTES_KEPT * largest

    def work() -> bytes:
        import numpy as np

        from imageserver.imaging import decoding, encoding, fitting

        image = decoding.read_image(data, name=name, max_pixels=max_pixels)
        width, height = size = wanted.size_of((image.width, image.height))
        check_size(size, service, wanted.size_name)
        fitted = fitting.fit_image(image, width, height, "crop" if wanted.crop else "stretch")
        pixels = np.frombuffer(fitted.data, np.uint8).reshape(height, width, 3)
        return encoding.encode(pixels, output_format=output_format)

    needed = service.thread_pool.run(measure)
    with service.decoding_memory.reserve(needed, service.settings.request_timeout, request.environ):
        return service.thread_pool.run(work)


def check_size(size: Size, service: Services, name: str) -> None:
    """Raise InvalidParameter for an enlarged image of too many pixels; `name` is the field that asked for it."""
    width, height = size
    limit = MAX_INPUT_RATIO * service.settings.max_pixels
    if width * height > limit or max(size) > MAX_SIDE or min(size) < 1:
        raise InvalidParameter(
            f"{name}: the image would be {width}x{height}; the limit is {limit} pixels, {MAX_INPUT_RATIO} times "
            f"MAX_PIXELS, and {MAX_SIDE} for a side.",
            param=name,
        )
