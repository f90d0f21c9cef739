"""Compare the image that a client sent with the one that was generated again."""

import math
from typing import Any

from flask import request

from imageserver.api.inputs.images.init_image import MAX_INPUT_RATIO
from imageserver.api.services import Services

Size = tuple[int, int]


def measured(service: Services, data: bytes) -> Size:
    """Return the size of an image that may be compared, before anything is generated; raises InvalidParameter."""

    def work() -> Size:
        from imageserver.imaging import decoding

        return decoding.read_size(data, name="image", max_pixels=MAX_INPUT_RATIO * service.settings.max_pixels)

    return service.thread_pool.run(work)


def compared(service: Services, sent: bytes, generated: bytes, sizes: tuple[Size, Size]) -> dict[str, Any]:
    """Return what the answer says of the difference; `sizes` are those of both files."""
    size = sizes[0]
    if size != sizes[1]:
        return _described(equal=False, same_size=False)

    def work() -> dict[str, Any]:
        from imageserver.imaging import decoding
        from imageserver.imaging.provenance.difference import difference_of

        images = [decoding.read_image(data, name="image", max_pixels=math.prod(size)) for data in (sent, generated)]
        if (images[0].width, images[0].height) != (images[1].width, images[1].height):
            # EXIF turned one of them.
            return _described(equal=False, same_size=False)
        found = difference_of(*images)
        box = list(found.box) if found.box else None
        return _described(equal=box is None, share=found.share, largest=found.largest, box=box)

    needed = _bytes_needed(size)
    with service.decoding_memory.reserve(needed, service.settings.request_timeout, request.environ):
        return service.thread_pool.run(work)


def _bytes_needed(size: Size) -> int:
    from imageserver.imaging import decoding

    # One is decoded while the other is kept; the distances take as much again.
    return (decoding.BYTES_PER_PIXEL + 4 * decoding.BYTES_KEPT) * math.prod(size)


def _described(
    *, equal: bool, same_size: bool = True, share: float = 1.0, largest: int = 255, box: list[int] | None = None
) -> dict[str, Any]:
    return {
        "equal": equal,
        "same_size": same_size,
        "differing_pixels": share,
        "largest_difference": largest,
        "differs_within": box,
    }
