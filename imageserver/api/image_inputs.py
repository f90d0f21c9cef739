"""Where the bytes of a client's picture come from: base64, a data URL, an upload, or, where allowed, a web address."""

import base64
import binascii
import importlib
import re

from werkzeug.datastructures import FileStorage

from imageserver.api.services import Services
from imageserver.errors import InvalidParameter
from imageserver.settings import Settings

DATA_URL = re.compile(r"data:(?:image/[\w.+-]+|application/octet-stream)?(?:;[\w=.-]+)*;base64,", re.IGNORECASE)
SPACE = re.compile(r"\s+")
# Most servers never need it, and it takes 0.1 s to import.
REMOTE = "imageserver.api.remote_images"


def fetch(service: Services, text: str, *, name: str) -> bytes:
    """Return the bytes that a text stands for: base64, a data URL, or an http address where that is allowed.

    Raises InvalidParameter naming the field and the limit.
    """
    if text[:8].lower().startswith(("http://", "https://")):
        settings = service.settings
        if not settings.allow_remote_images:
            raise InvalidParameter(
                f"{name} is a web address, which this server does not open (ALLOW_REMOTE_IMAGES); send the picture "
                "itself.",
                param=name,
            )
        data = service.native_pool.run(_download, text, settings, name)
        return _checked(data, settings, name)
    return decode(text, service.settings, name=name)


def decode(text: str, settings: Settings, *, name: str) -> bytes:
    """Return the bytes of base64 or a data URL; URL-safe letters, spaces and missing padding are taken as well."""
    header = DATA_URL.match(text)
    encoded = text[header.end() :] if header else text
    if len(encoded) * 3 // 4 > most_bytes(settings) * 1.1:
        raise too_large(name, settings)
    encoded = SPACE.sub("", encoded).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParameter(f"{name} is neither base64 nor a data URL of a picture.", param=name) from None
    return _checked(data, settings, name)


def read_upload(file: FileStorage, settings: Settings, *, name: str) -> bytes:
    """Return the bytes of a multipart file."""
    return _checked(file.stream.read(most_bytes(settings) + 1), settings, name)


def too_large(name: str, settings: Settings) -> InvalidParameter:
    """Return the error for a picture file over the limit."""
    return InvalidParameter(f"{name} is larger than {settings.max_image_mb:g} MiB (MAX_IMAGE_MB).", param=name)


def _download(url: str, settings: Settings, name: str) -> bytes:
    data: bytes = importlib.import_module(REMOTE).download(url, most_bytes(settings), name=name)
    return data


def _checked(data: bytes, settings: Settings, name: str) -> bytes:
    if len(data) > most_bytes(settings):
        raise too_large(name, settings)
    if not data:
        raise InvalidParameter(f"{name} is empty.", param=name)
    return data


def most_bytes(settings: Settings) -> int:
    """Return the size that a picture file may have."""
    return int(settings.max_image_mb * 2**20)
