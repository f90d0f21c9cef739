"""Images that clients name by the addresses under which this server saved them: read from where it keeps them."""

from collections.abc import Callable
from urllib.parse import parse_qsl, unquote, urlsplit

from flask import request, url_for

from imageserver.api.inputs.images.image_bytes import checked, fetch
from imageserver.api.services import Services
from imageserver.api.wsgi.bodies.arriving import hold
from imageserver.errors import Forbidden, InvalidParameter

# A link in Markdown as chats show it: the address between the last "](" and ")".
LINK_START, LINK_END = "](", ")"
MAX_ADDRESS_CHARACTERS = 2000
ANY_NAME = "image.png"

# Base64, a data URL or an address, or what returns the bytes of an image that the server has already.
SentImage = str | Callable[[], bytes]


class ImageReader:
    """Reads the images of one request, each once, and no more bytes of them than a body may have.

    They are kept while the request waits, and a body of addresses is small whatever they stand for: what that does not
    contain is counted beside it.
    """

    def __init__(self, service: Services) -> None:
        self._service = service
        self._images: dict[SentImage, bytes] = {}
        self._left = int(service.settings.max_body_mb * 2**20)

    def read(self, image: SentImage, *, name: str) -> bytes:
        """Return the bytes of an image by its address here, or else as `fetch` does; raises ServiceError."""
        if image not in self._images:
            data = _read(self._service, image, name) if isinstance(image, str) else image()
            self._left -= len(data)
            if self._left < 0:
                limit = self._service.settings.max_body_mb
                raise InvalidParameter(
                    f"{name}: the images are larger than {limit:g} MiB together (MAX_BODY_MB).", param=name
                )
            # Unlike base64, an address is not as long as what it stands for.
            hold(len(data) - len(image) if isinstance(image, str) else len(data))
            self._images[image] = data
        return self._images[image]


def saved_name(service: Services, text: str) -> str | None:
    """Return the name of an image by an address that this server gave out, None for any other text.

    Raises Forbidden where keys are required and its signature is not valid: whoever knows a name only may not read the
    image.
    """
    if len(text) > MAX_ADDRESS_CHARACTERS or not text.startswith(_folder_address(service)):
        return None
    address = urlsplit(text)
    name, query = unquote(address.path.rpartition("/")[2]), dict(parse_qsl(address.query))
    if service.url_signer is not None and not service.url_signer.opens(name, query):
        raise Forbidden("The address of a saved image needs its valid signature (?sig=); it may have expired.")
    return name


def linked_image(service: Services, text: str) -> str | None:
    """Return the address of an image saved here to which a Markdown text links last; None without one."""
    # Searched from the end: a text may have 32 MiB.
    start = text.rfind(LINK_START) + len(LINK_START)
    if start < len(LINK_START):
        return None
    address, closed, _ = text[start : start + MAX_ADDRESS_CHARACTERS].partition(LINK_END)
    return address if closed and address.startswith(_folder_address(service)) else None


def _read(service: Services, text: str, name: str) -> bytes:
    saved = saved_name(service, text)
    if saved is None:
        return fetch(service, text, name=name)
    data = service.storage_threads.run(lambda: service.outputs.open_image(saved).read_bytes())
    return checked(data, service.settings, name=name)


def _folder_address(service: Services) -> str:
    """Return what the addresses of all saved images begin with; see `urls_of`."""
    address = url_for("native.image", name=ANY_NAME).removeprefix(request.script_root)
    return service.links.root() + address.removesuffix(ANY_NAME)
