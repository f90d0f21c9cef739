"""Hand out a saved image: a file of this machine, or what a store keeps."""

from collections.abc import Iterator
from pathlib import Path

from flask import Response, request, send_file

from imageserver.api.services import Services
from imageserver.outputs.store import StoredImage

# A name always means the same bytes.
MAX_AGE_SECONDS = 3600


def image_response(service: Services, name: str) -> Response:
    """Return a saved image, or a redirect to the store's own address of it; raises NotFound, StorageUnavailable.

    With `redirect=0` in the query the image is passed on in any case: the web page may show nothing of another host.
    """
    found = service.storage_threads.run(service.outputs.open_image, name)
    if isinstance(found, Path):
        return send_file(found, max_age=MAX_AGE_SECONDS)
    # A store signs an address for one method.
    if found.address and request.method == "GET" and request.args.get("redirect") != "0":
        response = Response(status=302, headers={"Location": found.address})
        # It ends before a browser's cache would forget it.
        response.cache_control.no_store = True
        return response
    return _passed_on(service, found)


def _passed_on(service: Services, image: StoredImage) -> Response:
    def parts() -> Iterator[bytes]:
        # One that the store would hand out came without its beginning.
        part, sent = image.beginning or service.storage_threads.run(image.read, 0), 0
        while part:
            yield part
            sent += len(part)
            part = service.storage_threads.run(image.read, sent) if sent < image.size else b""

    response = Response(parts(), mimetype=_mimetype(image.name))
    response.content_length = image.size
    response.set_etag(image.name)
    response.cache_control.max_age = MAX_AGE_SECONDS
    response.make_conditional(request.environ, accept_ranges=True, complete_length=image.size)
    return response


def _mimetype(name: str) -> str:
    suffix = name.rpartition(".")[2]
    return "application/zip" if suffix == "zip" else f"image/{'jpeg' if suffix == 'jpg' else suffix}"
