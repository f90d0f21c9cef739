"""Send saved images as one ZIP file, one image in memory at a time."""

from collections.abc import Callable, Iterator
from functools import partial

from flask import Response

from imageserver.api.services import Services
from imageserver.errors import NotFound
from imageserver.imaging.archive import stream_zip
from imageserver.outputs.gallery.gallery import Gallery
from imageserver.outputs.gallery.item import Selection

FILE_NAME = "images.zip"


def archive_of(service: Services, gallery: Gallery, credential: str, names: list[str] | None) -> Response:
    """Return the images of these names, or all of a credential; raises NotFound for a name that is not in the gallery.

    An image that vanishes meanwhile is left out; a store that breaks off breaks off the answer.
    """
    if names is None:
        wanted = [item.name for item in gallery.items(Selection(credential=credential))]
    else:
        # A ZIP file holds no name twice.
        wanted = list(dict.fromkeys(names))
        if not gallery.has_all(wanted, credential):
            raise NotFound("The gallery has no image of one of these names.", param="names")
    parts = _parts(service, stream_zip((name, partial(_read, service, name)) for name in wanted))
    response = Response(parts, mimetype="application/zip")
    response.headers["Content-Disposition"] = f"attachment; filename={FILE_NAME}"
    response.cache_control.no_store = True
    return response


def _parts(service: Services, parts: Iterator[bytes]) -> Iterator[bytes]:
    # Reading waits for a disk or a store, and a checksum of 2 MB takes 1 ms.
    following: Callable[[], bytes | None] = partial(next, parts, None)
    while (part := service.storage_threads.run(following)) is not None:
        yield part


def _read(service: Services, name: str) -> bytes | None:
    try:
        return service.outputs.open_image(name).read_bytes()
    except (NotFound, FileNotFoundError):
        return None
