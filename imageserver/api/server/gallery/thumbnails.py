"""Hand out the thumbnail of a saved image, made at its first request and never on the event loop."""

from flask import Response, request

from imageserver.api.services import Services
from imageserver.errors import NotFound
from imageserver.outputs.gallery.item import GalleryItem

# A name always means the same bytes.
MAX_AGE_SECONDS = 365 * 86400
# What Pillow holds for each pixel of the image while it makes a smaller one.
BYTES_PER_PIXEL = 8


def thumbnail_response(service: Services, item: GalleryItem) -> Response:
    """Return the thumbnail, or 304 to who has it; raises NotFound where the image is gone."""
    # The gallery does not forget it for that: while a volume is away, so are all images.
    if service.storage_threads.run(service.outputs.is_gone, item.name):
        raise _gone()
    response = Response(mimetype="image/webp")
    response.set_etag(item.name)
    response.cache_control.max_age = MAX_AGE_SECONDS
    response.cache_control.immutable = True
    response.make_conditional(request)
    if response.status_code != 304:
        kept = service.storage_threads.run(service.thumbnails.get, item.name)
        response.set_data(_made(service, item) if kept is None else kept)
    return response


def _made(service: Services, item: GalleryItem) -> bytes:
    """Make and keep the thumbnail; raises NotFound where the image is gone."""
    needed = BYTES_PER_PIXEL * item.width * item.height
    with service.decoding_memory.reserve(needed, service.settings.request_timeout, request.environ):
        try:
            data = service.storage_threads.run(lambda: service.outputs.open_image(item.name).read_bytes())
        except (NotFound, FileNotFoundError):
            raise _gone() from None
        try:
            made = service.thread_pool.run(_make, data)
        except OSError:
            raise NotFound("The image has no thumbnail: its file is damaged.", param="name") from None
    service.storage_threads.run(service.thumbnails.put, item.name, made)
    return made


def _gone() -> NotFound:
    return NotFound("The image was deleted (TMP_MAX_AGE, TMP_MAX_MB).", param="name")


def _make(data: bytes) -> bytes:
    # Pillow takes 0.1 s to import.
    from imageserver.imaging.thumbnails import thumbnail

    return thumbnail(data)
